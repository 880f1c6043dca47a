"""A flow that does nothing: what Prefect alone takes for a run."""

from prefect import flow


@flow
def empty() -> None:
    """Begin and end."""
