"""Addresses of MLflow's pages."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class MlflowPages:
    """Addresses of pages for people; all are empty if ``url`` is, because nothing serves them."""

    url: str

    def experiment(self, experiment_id: str) -> str:
        """Return the page with the runs of an experiment."""
        return self._page(f"experiments/{experiment_id}")

    def run(self, experiment_id: str, run_id: str) -> str:
        """Return the page of one run with its parameters, scores, inputs and model."""
        return self._page(f"experiments/{experiment_id}/runs/{run_id}")

    def model(self, name: str) -> str:
        """Return the page with the versions of a registered model and their aliases."""
        return self._page(f"models/{quote(name, safe='')}")

    def _page(self, path: str) -> str:
        return f"{self.url}/#/{path}" if self.url else ""
