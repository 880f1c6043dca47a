"""Pictures of block types, which the server of ``instances up`` serves beside Prefect's pages.

They are icons of Lucide 0.468.0; the licence (ISC) is beside them. Prefect stores the address of a
picture, and takes web addresses only. A server that does not serve them gets the same pictures
on a public host. ``docs/decisions/0022`` says why.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from pydantic import HttpUrl

if TYPE_CHECKING:
    from starlette.applications import Starlette

FOLDER = Path(__file__).parent
ROUTE = "/instances-pictures"
"""Path of the pictures on the server, beside ``/api``."""

HOSTED = "https://cdn.jsdelivr.net/npm/lucide-static@0.468.0/icons"
"""Address of the same pictures on a public host."""

WAIT_SECONDS = 2
"""Seconds until a server that does not answer counts as one without pictures."""


def mount_pictures(pages: Starlette) -> Starlette:
    """Serve the pictures beside pages that answer every path; returns the same application."""
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    pages.router.routes.insert(0, Mount(ROUTE, StaticFiles(directory=FOLDER)))
    return pages


def address_picture(name: str) -> HttpUrl:
    """Return the address of a picture for block types of the server that Prefect's settings name.

    The address is on that server if it serves pictures, else on the public host.
    """
    from prefect.settings import PREFECT_UI_URL

    file = f"{name}.svg"
    if not (FOLDER / file).is_file():
        raise ValueError(f"{FOLDER} has no {file}")
    server = (PREFECT_UI_URL.value() or "").rstrip("/")
    return HttpUrl(f"{_find_pictures(server, file)}/{file}")


@cache
def _find_pictures(server: str, file: str) -> str:
    try:
        answer = httpx.get(f"{server}{ROUTE}/{file}", timeout=WAIT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return HOSTED
    # Other servers answer unknown paths with their first page.
    served = answer.is_success and answer.headers.get("content-type", "").startswith("image/svg")
    return f"{server}{ROUTE}" if served else HOSTED
