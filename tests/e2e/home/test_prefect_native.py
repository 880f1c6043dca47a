"""What Prefect itself shows and does: names, tags, events, automations, blocks, deploying."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_instances.blocks import Centrifugo
from prefect_instances.libs.adapters.centrifugo.publisher import Publisher
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.services.state.ledger import utc_now
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay
from tests.centrifugo.fixtures import connection_to
from tests.centrifugo.server import ContractServer
from tests.e2e.stack import Stack, expression, market
from tests.patience import eventually

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[3]
LIFECYCLE = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]


def test_the_state_of_an_instance_is_visible_in_prefect(stack: Stack, project: str) -> None:
    stack.apply(
        {"project": project, "instances": [market("px"), expression("twice", "close * 2", "px")]},
        "--wait",
    )
    instance = stack.instance(f"{project}/twice")
    deployment = stack.post(
        "/deployments/filter", {"deployments": {"name": {"any_": [f"{project}.twice"]}}}
    )[0]
    events = eventually(lambda: _events(stack, instance), 30, "events of the instance")
    runs = stack.post("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment["id"]]}}})
    artifacts = stack.post(
        "/artifacts/filter", {"artifacts": {"key": {"any_": [f"{project}-twice"]}}}
    )
    automations = stack.post("/automations/filter", {})

    assert deployment["id"] == instance["flows"][0]["deployment_id"]
    assert {
        f"instance:{instance['id']}",
        f"project:{project}",
        "type:DatasetInstance",
        "flow-kind:refresh",
    } <= set(deployment["tags"])
    assert {"instance.gate.opened", "instance.flow.ready"} <= events
    assert [(run["state_name"], run["name"]) for run in runs] == [
        ("Completed", "twice refresh · gate")
    ]
    assert artifacts
    assert len([a for a in automations if a["name"].startswith("instances: ")]) == 2


def _events(stack: Stack, instance: dict[str, Any]) -> set[str]:
    flow = f"instance.flow.{instance['flows'][0]['id']}"
    found = stack.post("/events/filter", {"filter": {"resource": {"id": [flow]}}, "limit": 50})
    names = {event["event"] for event in found["events"]}
    return names if {"instance.gate.opened", "instance.flow.ready"} <= names else set()


def test_a_block_made_through_the_api_is_provisioned_by_prefects_own_command(
    stack: Stack, project: str
) -> None:
    name = f"{project}-picked"
    document = _block_document(
        stack, "dataset-instance", name, {**market("px"), "project": project}
    )

    done = stack.prefect(
        "deployment",
        "run",
        "provision-instance/default",
        "--param",
        f'instance={{"$ref": {{"block_document_id": "{document}"}}}}',
        "--watch",
    )

    assert done.code == 0, done
    eventually(lambda: stack.settled(project), 60, "the picked instance READY")
    shown = stack.cli("show", f"{project}/px", "--json").json
    assert shown["handles"]["block_document_id"] == document


def _block_document(stack: Stack, slug: str, name: str, data: dict[str, Any]) -> str:
    import httpx

    type_ = httpx.get(f"{stack.api_url}/block_types/slug/{slug}").json()
    schemas = stack.post(
        "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [type_["id"]]}}}
    )
    body = {
        "name": name,
        "data": data,
        "block_type_id": type_["id"],
        "block_schema_id": schemas[0]["id"],
    }
    return str(stack.post("/block_documents/", body)["id"])


def test_an_inline_spec_with_faults_ends_failed_with_all_of_them(
    stack: Stack, project: str
) -> None:
    flow_run = stack.run_deployment(
        "provision-instance/default",
        {
            "instance": {
                "type": "DatasetInstance",
                "name": "bad",
                "project": project,
                "pipeline": {"definition": "market_dat"},
                "store": {"definition": "tape"},
                "upstream_refs": [{"resource": "nobody"}],
            }
        },
    )

    assert flow_run["state_type"] == "FAILED"
    for path in ("pipeline.definition", "store.definition", "upstream_refs[0].resource"):
        assert path in flow_run["state"]["message"]
    assert stack.statuses(project) == {}


def test_deprovisioning_by_flow_refuses_then_cascades(stack: Stack, project: str) -> None:
    stack.apply(
        {"project": project, "instances": [market("px"), expression("twice", "close * 2", "px")]},
        "--wait",
    )

    refused = stack.run_deployment("deprovision-instance/default", {"instance": f"{project}/px"})
    removed = stack.cli("delete", f"{project}/px", "--cascade", "--purge")

    assert refused["state_type"] == "FAILED"
    assert f"{project}/twice" in refused["state"]["message"]
    assert removed.code == 0
    assert stack.statuses(project) == {}
    left = stack.post(
        "/deployments/filter", {"deployments": {"tags": {"all_": [f"project:{project}"]}}}
    )
    assert left == []


def test_prefect_deploy_all_in_a_clean_checkout_leaves_working_lifecycle_flows(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    shutil.copy(REPOSITORY / "prefect.yaml", checkout)
    for package in ("flows", "blocks", "libs", "deployments"):
        shutil.copytree(REPOSITORY / package, checkout / package)

    deployed = stack.prefect("--no-prompt", "deploy", "--all", cwd=checkout)
    listed = stack.post("/deployments/filter", {"deployments": {"name": {"any_": ["default"]}}})
    flow_run = stack.run_deployment(
        "provision-instance/default",
        {"instance": {**market("px"), "project": project}},
    )

    assert deployed.code == 0, deployed
    assert len(listed) == len(LIFECYCLE)
    assert all(not entry["pull_steps"] for entry in listed)
    assert flow_run["state_type"] == "COMPLETED"
    eventually(lambda: stack.settled(project), 60, "the instance READY")


def test_real_runs_tell_subscribers_and_keep_the_secrets(stack: Stack, project: str) -> None:
    key, secret = f"planted-key-{project}", f"planted-secret-{project}-of-some-length"
    with (
        ContractServer(api_key=key, secret=secret) as server,
        PrefectGateway.connect(stack.api_url) as gateway,
    ):
        database = stack.database
        block = Centrifugo(url=server.url, api_key=key, hmac_secret=secret)
        document = gateway.save_block(block, "instances")
        live = SubscriberRelay(database, utc_now, lambda: Publisher(connection_to(server)))
        assert live.check_broker()
        stack.apply({"project": project, "instances": [market("px")]}, "--wait")
        granted = stack.cli("token", f"{project}/px", "--json").json
        watched = stack.cli("watch", f"{project}/px", "--json", "--timeout", "3")

        def told() -> list[Any]:
            live.drain(5)  # what the end of the run did not wait for
            messages = server.published(granted["channel"])
            return messages if any(m["new_status"] == "READY" for m in messages) else []

        messages = eventually(told, 60, "the message that it is READY")
        gateway.delete_block_document(document)
        SubscriberRelay(database, utc_now, lambda: None).check_broker()

    assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1))
    assert json.loads(watched.out.splitlines()[0]) == {"type": "reload"}
    logs = json.dumps(stack.post("/logs/filter", {"limit": 200}))
    texts = [logs, *(p.read_text(errors="replace") for p in stack.home.rglob("*.log"))]
    assert not [text for text in texts if key in text or secret in text]
