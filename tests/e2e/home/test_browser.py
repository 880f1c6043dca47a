"""What a person does who has only the Prefect UI: configure, provision, run, look, switch off."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from prefect_instances.libs.adapters.prefect.pictures import ROUTE
from tests.e2e.browser import Person, person_at
from tests.e2e.stack import Stack, expression, write_rows
from tests.patience import eventually

pytestmark = pytest.mark.e2e

SOURCE = {"source": "us_stocks", "symbols": ["AAPL", "KO"], "start_date": "2022-01-01"}


def test_an_instance_lives_in_the_pages_of_prefect(stack: Stack, project: str) -> None:
    with person_at(stack.api_url.removesuffix("/api"), "instance") as person:
        make_block(person, project)
        provision(person, stack, project)
        stack.apply(
            {"project": project, "instances": [expression("twice", "close * 2", "prices")]},
            "--wait",
        )
        run_by_hand(person, stack, project)
        look_at_artifacts(person, stack, project)
        switch_the_schedule_off(person, stack, project)
        change(person, stack, project)
        remove(person, stack, project)


def test_the_root_cause_of_what_waits_is_read_in_the_pages(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    write_rows(tmp_path, 1.0)
    stack.apply(chain(project, tmp_path / "data.csv"), "--wait")
    (tmp_path / "data.csv").unlink()
    stack.cli("run", f"{project}/prices", "--wait", code=1)
    stack.cli("run", f"{project}/composite", "--recursive")
    eventually(lambda: len(failed(stack, f"{project}/prices")) == 2, 120, "it fails again")

    with person_at(stack.api_url.removesuffix("/api"), "freshness") as person:
        check_freshness(person, stack, project)
        read_the_table(person)
        read_the_graph(person, project)


def chain(project: str, path: Path) -> dict[str, Any]:
    """prices, of a file → momentum → composite, which reads an index as well."""
    prices = {
        "name": "prices",
        "type": "DatasetInstance",
        "pipeline": {"definition": "file", "config": {"path": str(path)}},
    }
    momentum = expression("momentum", "close * 2", "prices")
    inputs = {"own": {"role": "own", "column": "value"}, "all": {"role": "all", "column": "close"}}
    upstreams = [{"resource": "momentum", "role": "own"}, {"resource": "prices", "role": "all"}]
    composite = expression("composite", "own + all", *upstreams, inputs=inputs)
    return {"project": project, "instances": [prices, momentum, composite]}


def failed(stack: Stack, name: str) -> list[dict[str, Any]]:
    return [run for run in stack.runs(name) if run["status"] == "failed"]


def check_freshness(person: Person, stack: Stack, project: str) -> None:
    own = deployment(stack, "check-upstream-freshness", "default")
    person.open(f"deployments/deployment/{own}/run")
    person.fill("instance", f"{project}/composite")
    person.look("asking")
    person.press("Submit")
    key = f"freshness-{project}-composite"
    # A run of the instance that waits leaves the same pages on itself.
    body = {"artifacts": {"key": {"any_": [key]}}, "deployments": {"id": {"any_": [own]}}}
    (artifact, *_) = eventually(lambda: stack.post("/artifacts/filter", body), 60, "the artifact")
    person.open(f"runs/flow-run/{artifact['flow_run_id']}")
    person.sees("Completed")
    person.page.get_by_role("tab", name="Artifacts").click()
    person.page.get_by_text(key, exact=True).click()


def read_the_table(person: Person) -> None:
    person.page.wait_for_url("**/artifacts/artifact/**")
    person.sees(ROOT_CAUSE)
    row = person.page.get_by_role("row").filter(has_text="momentum.refresh")
    expect(row).to_contain_text("prices.refresh")
    expect(row).to_contain_text("waits for prices.refresh: ERROR RunFailed since")
    person.look("table")


ROOT_CAUSE = re.compile(
    r"composite\.refresh waits for prices\.refresh: ERROR RunFailed since \S+: file .*data\.csv.*"
)


def read_the_graph(person: Person, project: str) -> None:
    person.open(f"artifacts/key/why-freshness-{project}-composite")
    person.page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
    person.page.wait_for_url("**/artifacts/artifact/**")
    person.sees(ROOT_CAUSE)
    root = person.page.locator("svg .node.root")
    expect(root).to_contain_text("prices.refresh")
    expect(root).to_contain_text("file not found")
    person.look("graph")


def make_block(person: Person, project: str) -> None:
    person.open("blocks/catalog/dataset-instance")
    person.sees("from prefect_instances.blocks import DatasetInstance")
    picture = person.page.locator("main img").first
    expect(picture).to_have_attribute("src", f"{person.root}{ROUTE}/database.svg")
    expect(picture).to_have_js_property("complete", True)
    expect(picture).not_to_have_js_property("naturalWidth", 0)
    person.look("block-type")
    person.open("blocks/catalog/dataset-instance/create")
    person.page.get_by_label("Name", exact=True).fill(f"{project}--prices")
    person.fill("Instance name", "prices")
    person.fill("Project", project)
    person.fill("Definition", "market_data")
    person.fill_json(json.dumps({**SOURCE, "end_date": "2022-06-30"}))
    choose(person, "Select Type", "cron")
    person.fill("Cron expression", "0 6 * * 1-5")
    person.look("block-filled-in")
    person.press("Save")
    person.page.wait_for_url("**/blocks/block/**")
    person.look("block-saved")


def choose(person: Person, label: str, option: str) -> None:
    person.page.get_by_label(label).first.click()
    person.page.get_by_role("option", name=option).click()


def provision(person: Person, stack: Stack, project: str) -> None:
    person.open(f"deployments/deployment/{deployment(stack, 'provision-instance', 'default')}/run")
    person.page.get_by_role("tab", name="DatasetInstance").click()
    person.press("Select a block")
    person.look("provision-picking")
    person.page.get_by_role("option", name=f"{project}--prices").click()
    person.press("Submit")
    eventually(lambda: exists(stack, project), 60, "the instance is there")
    eventually(lambda: stack.settled(project), 60, "its first run")


def exists(stack: Stack, project: str) -> bool:
    return "prices" in stack.statuses(project)


def run_by_hand(person: Person, stack: Stack, project: str) -> None:
    """With ``force``, since the data is the same: the downstream must run all the same."""
    before = len(stack.completed(f"{project}/twice"))
    own = deployment(stack, "refresh-dataset", f"{project}.prices")
    person.open(f"deployments/deployment/{own}")
    person.sees("Completed")
    person.look("deployment")
    person.open(f"deployments/deployment/{own}/run")
    person.page.get_by_label("force (Optional)").click()
    person.look("run-with-force")
    person.press("Submit")
    eventually(
        lambda: len(stack.completed(f"{project}/twice")) > before, 60, "the automation's run"
    )
    eventually(lambda: stack.settled(project), 60, "all of it")
    assert stack.runs(f"{project}/twice")[0]["cause"] == "gate"
    person.open(
        f"deployments/deployment/{deployment(stack, 'refresh-dataset', f'{project}.twice')}"
    )
    person.sees("2 Flow runs")
    person.look("downstream-started-by-the-automation")


def look_at_artifacts(person: Person, stack: Stack, project: str) -> None:
    run = stack.runs(f"{project}/twice")[0]["prefect_flow_run_id"]
    person.open(f"runs/flow-run/{run}")
    person.sees("Completed")
    person.page.get_by_role("tab", name="Artifacts").click()
    person.sees(f"{project}-twice".lower())
    person.look("artifacts-of-a-run")
    person.page.get_by_text(f"{project}-twice", exact=True).click()
    person.page.wait_for_url("**/artifacts/artifact/**")
    person.sees("data up to")
    person.look("artifact")


def switch_the_schedule_off(person: Person, stack: Stack, project: str) -> None:
    own = deployment(stack, "refresh-dataset", f"{project}.prices")
    person.open(f"deployments/deployment/{own}")
    switch = person.page.get_by_role("switch").first
    switch.wait_for()
    switch.click()
    person.sees("Ready")
    eventually(lambda: not schedule(stack, own)["active"], 20, "the schedule is off")
    person.look("schedule-switched-off")


def change(person: Person, stack: Stack, project: str) -> None:
    """Edit the block, then update the instance to it: what was switched off stays so."""
    own = deployment(stack, "refresh-dataset", f"{project}.prices")
    (block,) = stack.post(
        "/block_documents/filter", {"block_documents": {"name": {"any_": [f"{project}--prices"]}}}
    )
    person.open(f"blocks/block/{block['id']}/edit")
    person.fill("Description", "Two stocks, half a year")
    person.fill("Cron expression", "0 7 * * 1-5")
    person.look("block-changed")
    person.press("Save")
    person.page.wait_for_url("**/blocks/block/**")
    person.open(f"deployments/deployment/{deployment(stack, 'update-instance', 'default')}/run")
    person.page.get_by_role("tab", name="DatasetInstance").click()
    person.press("Select a block")
    person.page.get_by_role("option", name=f"{project}--prices").click()
    person.press("Submit")
    eventually(lambda: "0 7 *" in schedule(stack, own)["schedule"]["cron"], 60, "the update")
    assert not schedule(stack, own)["active"]
    person.open(f"deployments/deployment/{own}")
    person.sees("At 07:00 AM")
    person.look("updated-and-still-off")


def said(stack: Stack, run_id: str, text: str) -> list[str]:
    """What a run has logged, nothing before it has logged the text."""
    logs = stack.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
    lines = [line["message"] for line in logs]
    return lines if any(text in line for line in lines) else []


def remove(person: Person, stack: Stack, project: str) -> None:
    """Refused while another reads it, with that one named; with all that read it, gone."""
    own = deployment(stack, "deprovision-instance", "default")
    person.open(f"deployments/deployment/{own}/run")
    person.page.get_by_label("instance", exact=True).fill(f"{project}/prices")
    person.look("remove")
    person.press("Submit")
    refused = eventually(lambda: newest_run(stack, own, "FAILED"), 60, "the refusal")
    assert f"{project}/twice" in refused["state"]["message"]
    advice = "remove these first or use"
    # The page of a run that has ended asks for its logs once, and they come after its state.
    logs = eventually(lambda: said(stack, refused["id"], advice), 30, "the logs of the refusal")
    assert not any("Traceback" in line for line in logs)
    person.open(f"runs/flow-run/{refused['id']}")
    person.sees(advice)
    person.look("removal-refused")
    person.open(f"deployments/deployment/{own}/run")
    person.page.get_by_label("instance", exact=True).fill(f"{project}/prices")
    person.page.get_by_label("cascade (Optional)").click()
    person.press("Submit")
    done = eventually(lambda: newest_run(stack, own, "COMPLETED"), 60, "the removal")
    assert stack.statuses(project) == {}
    assert stack.post("/deployments/filter", {"deployments": {"name": {"like_": project}}}) == []
    person.open(f"runs/flow-run/{done['id']}")
    person.page.get_by_role("tab", name="Artifacts").click()
    person.sees("plan")
    person.look("removed")


def newest_run(stack: Stack, deployment_id: str, state: str) -> dict[str, Any]:
    """The newest run of a deployment, if that is how it ended; else nothing."""
    body = {
        "deployments": {"id": {"any_": [deployment_id]}},
        "sort": "EXPECTED_START_TIME_DESC",
        "limit": 1,
    }
    found = stack.post("/flow_runs/filter", body)
    return dict(found[0]) if found and found[0]["state"]["type"] == state else {}


def schedule(stack: Stack, deployment_id: str) -> dict[str, Any]:
    body = {"deployments": {"id": {"any_": [deployment_id]}}}
    (found,) = stack.post("/deployments/filter", body)
    (only,) = found["schedules"]
    return dict(only)


def deployment(stack: Stack, flow: str, name: str) -> str:
    body = {"deployments": {"name": {"any_": [name]}}, "flows": {"name": {"any_": [flow]}}}
    (found,) = stack.post("/deployments/filter", body)
    return str(found["id"])
