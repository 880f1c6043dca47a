"""MLflow's server over the store of a home.

``python -m prefect_instances.cli.runtime.mlflow_pages FOLDER PORT`` runs ``mlflow server`` after it
has created the store's schema, which must happen exactly once even if several processes start. One
process serves. MLflow's executors of background jobs, which need another gigabyte, are left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prefect_instances.cli.runtime.web import HOST
from prefect_instances.libs.adapters.mlflow import Tracking


def main(folder: Path, port: str) -> None:
    """Serve MLflow's pages of the store in ``folder`` until the process is terminated."""
    store = Tracking(folder)
    store.prepare()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    from mlflow.cli import cli

    places = ["--backend-store-uri", store.url]
    places += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    cli(["server", "--host", HOST, "--port", port, "--workers", "1", *places])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
