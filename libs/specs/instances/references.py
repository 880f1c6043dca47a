"""References to the upstream flows that an instance reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.names import Name, OptionalName, Reference


def _yes_or_no(value: Any) -> Any:
    """Convert a boolean to yes or no; documents write ``triggers: false``, forms offer words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return {"true": "yes", "false": "no"}.get(value, value) if isinstance(value, str) else value


YesNo = Annotated[Literal["", "yes", "no"], BeforeValidator(_yes_or_no)]
"""Yes, no, or empty for the default of the flow kind; true and false are accepted."""


class UpstreamRef(SpecModel):
    """One upstream: the resource, its role, and when it lets the downstream run."""

    model_config = ConfigDict(title="Upstream")
    ALIASES: ClassVar[Mapping[str, str]] = {"resource_id": "resource"}
    SHORTHAND: ClassVar[str] = "resource"

    resource: Reference = Field(
        title="Resource",
        description="The upstream instance: its name, project/name, or id.",
        examples=["sp500_prices", "demo/sp500_prices"],
    )
    role: Name = Field(
        default="input",
        title="Role",
        description="The role of the upstream in this instance.",
        examples=["input", "covariance"],
    )
    flow: OptionalName = Field(
        default="",
        title="Flow",
        description="Flow of the upstream; empty: the one that produces its output.",
        examples=["refresh", "inference"],
    )
    require: Literal["", "ready", "data", "none"] = Field(
        default="",
        title="Require",
        description="What the upstream must be before a run starts: ready (the default), "
        "data (has published once), or none.",
        examples=["ready", "data"],
    )
    triggers: YesNo = Field(
        default="",
        title="Triggers",
        description=(
            "Whether new upstream data makes this instance run; empty: the default of its kind "
            "of flow."
        ),
        examples=["yes", "no"],
    )

    @property
    def triggering(self) -> bool | None:
        """``triggers`` as a boolean; None if the default of the flow kind applies."""
        return None if not self.triggers else self.triggers == "yes"
