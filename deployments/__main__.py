"""``python -m deployments``: prepare a Prefect server for this project, as often as one likes.

It uses the server of Prefect's settings (``PREFECT_API_URL``, the active profile) or, where they
name none, the one that ``instances up`` started. It prints what was created, updated or unchanged,
and ends with 1 and one line if something could not be done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prefect_instances.deployments.apply import apply
from prefect_instances.libs.adapters.prefect import PrefectGateway, configured_api_url
from prefect_instances.libs.core.errors import InstancesError
from prefect_instances.libs.settings import Settings, load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        settings = load_settings()
        options = _parser(settings).parse_args(arguments)
        address = options.api_url or configured_api_url() or settings.prefect_api_url or None
        with PrefectGateway.connect(address) as gateway:
            for item in apply(
                gateway,
                options.pool,
                options.pool_type,
                settings.chosen_sweep_seconds,
                options.notify,
            ):
                print(item)
    except InstancesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments", description=_summary())
    parser.add_argument("--api-url", metavar="URL")
    parser.add_argument("--pool", default=settings.pool, metavar="NAME")
    parser.add_argument("--pool-type", default=settings.pool_type, metavar="TYPE")
    parser.add_argument(
        "--notify",
        default="",
        metavar="BLOCK",
        help="notification block (slack-webhook/team) to send every missed deadline to",
    )
    return parser


def _summary() -> str:
    return (__doc__ or "").partition("\n")[0].partition(": ")[2]


if __name__ == "__main__":
    sys.exit(main())
