"""Links to the pages of other programs."""

from __future__ import annotations

from prefect_instances.libs.services.rendering.links import link_flow_runs

HANDLES = {
    "prefect_training_deployment_id": "t",
    "prefect_inference_deployment_id": "i",
    "prefect_monitoring_deployment_id": None,
    "mlflow_experiment_id": "7",
}


def test_prefect_lists_the_flow_runs_that_did_no_work_by_the_names_of_their_states() -> None:
    page = "http://prefect/v2/runs?deployments=t,i"

    assert link_flow_runs("http://prefect", HANDLES) == {
        "flow runs": page,
        "flow runs without work": f"{page}&state=Skipped,UpstreamNotReady,NotASession",
    }


def test_an_instance_without_a_deployment_has_no_flow_runs() -> None:
    assert link_flow_runs("http://prefect", {"prefect_deployment_id": None}) == {}
