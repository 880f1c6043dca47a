"""Parse the certificates of the machine once in each test process, and not for each client.

httpx and Prefect parse them again for every client that they make: 20 ms of CPU for an address that
is ``http://`` in all tests. Provisioning an instance makes two such clients. The product does the
same for its runs (``CERTIFICATES`` in ``libs.adapters.prefect.patches``).
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

_create = ssl.create_default_context
_create_from_file = cache(lambda file: _create(cafile=file))


def share_certificates() -> None:
    """Give all clients that name the same file of certificates one context; call it early."""

    def create(*args: Any, cafile: str | None = None, **options: Any) -> ssl.SSLContext:
        if cafile is None or args or options:
            return _create(*args, cafile=cafile, **options)
        return _create_from_file(cafile)

    ssl.create_default_context = create
