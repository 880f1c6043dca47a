"""Web servers of a home: choosing a port, and waiting until the server answers."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from prefect_instances.cli.runtime import processes
from prefect_instances.cli.runtime.home import Home
from prefect_instances.libs.core.errors import PermanentError, Unavailable

if TYPE_CHECKING:
    import ssl

HOST = "127.0.0.1"
POLL_SECONDS = 0.2


class PortInUse(PermanentError):
    """The requested port is taken: choose another, or none."""

    def __init__(self, port: int, option: str) -> None:
        self.port, self.option = port, option
        super().__init__(
            f"port {port} is in use; choose another {option}, or leave it out to take a free one"
        )


def choose_port(asked: int, remembered: int, option: str) -> int:
    """Return the demanded port, else the last one if it is free, else a free one.

    Raises PortInUse, which names ``option`` as the setting to change, if ``asked`` is taken.
    """
    if asked:
        if not is_free(asked):
            raise PortInUse(asked, option)
        return asked
    if remembered and is_free(remembered):
        return remembered
    return _free_port()


def is_free(port: int) -> bool:
    """Return True if nobody listens on the port."""
    with socket.socket() as probe:
        # As servers do: an address in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until_up(
    home: Home, role: str, what: str, port: int, answers: Callable[[], bool], seconds: float
) -> None:
    """Wait until the home's own process of ``role`` answers on ``port``.

    Raises Unavailable, which calls it ``what``, if it ends or takes longer than ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        process = processes.alive(home, role)
        if process is None:
            said = processes.last_words(home, role)
            raise Unavailable(what, f"it ended while starting; {said}")
        if answers() and _listens(process, port):
            return
        if time.monotonic() > deadline:
            said = processes.last_words(home, role)
            raise Unavailable(what, f"no answer on port {port} within {seconds:.0f} s; {said}")
        time.sleep(POLL_SECONDS)


def answers_ok(url: str) -> bool:
    """Return True if a GET of ``url`` succeeds."""
    import httpx

    try:
        response = httpx.get(url, timeout=5.0, trust_env=False, verify=_certificates())
    except httpx.HTTPError:
        return False
    return response.is_success


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read the certificates of the machine once, not with every poll: it takes 20 ms or more."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _listens(process: psutil.Process, port: int) -> bool:
    """Return True if this process or a child listens on the port; another may have taken it."""
    try:
        family = [process, *process.children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for member in family
            for connection in member.net_connections("inet")
        )
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
