"""Variables of Prefect: small values that belong to a server."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from prefect_instances.libs.adapters.prefect.api import Calls


class VariableCalls(Calls):
    """Calls about variables."""

    def read_variable(self, name: str) -> Any | None:
        """Return the value of a variable, None if there is none."""
        path = f"/variables/name/{quote(name, safe='')}"
        document = self._api.find(path, doing=f"read the variable {name}")
        return None if document is None else document["value"]

    def write_variable(self, name: str, value: object) -> None:
        """Create a variable, or change its value; ``value`` is anything that JSON can hold."""
        doing, path = f"write the variable {name}", f"/variables/name/{quote(name, safe='')}"
        if self._api.find(path, doing=doing) is None:
            self._api.request("POST", "/variables/", {"name": name, "value": value}, doing=doing)
        else:
            self._api.request("PATCH", path, {"value": value}, doing=doing)
