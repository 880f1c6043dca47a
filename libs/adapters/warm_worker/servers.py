"""The worker's handles on its forkservers and on the children that they forked for it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import psutil

from prefect_instances.libs.adapters.warm_worker.forkserver import (
    SERVER_GRACE_SECONDS,
    ForkJob,
    read_modified_time,
)

READY_SECONDS = 180.0
"""Time limit for the imports of a forkserver."""

CONNECT_SECONDS = 60.0
"""Time limit for the connection of a forkserver that was forked from another."""

LONGEST_FOLDER = 80
"""Longest path of a folder for temporary files in which a socket can have an address."""

MAX_SERVERS = 6
"""Servers (environments x sets of modules) kept warm at once; the least recently used one goes."""

RUN_VARIABLES = "PREFECT__"
"""Prefix of the variables that differ from run to run and that no import reads."""

ORPHAN_POLL_SECONDS = 0.2
LINE_BYTES = 16_000_000

logger = logging.getLogger("prefect.warm_worker")


class ServerLost(RuntimeError):
    """The forkserver ended during a request to fork; see its last output."""


class Child:
    """One forked process, the leader of its process group.

    ``status`` is its exit code, negative for the signal that ended it, None while it runs and if
    the code is unknown because its forkserver died before it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self._ended = asyncio.Event()
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None

    async def wait(self) -> int | None:
        """Wait for the end and return the ``status``."""
        await self._ended.wait()
        return self.status

    async def end(self, grace_seconds: float) -> None:
        """Ask the whole process group to end; kill the rest of it after ``grace_seconds``."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), grace_seconds)
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, if it runs."""
        if self._is_running():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the whole process group."""
        self._signal(signal.SIGKILL)

    def has_ended(self, status: int | None) -> None:
        """Record that the child has ended; ``status`` is None if its exit code is unknown."""
        self.status = status
        self._ended.set()

    async def outlive_server(self) -> None:
        """Wait until the child has ended, by polling, because its forkserver has died."""
        while self._is_running():
            await asyncio.sleep(ORPHAN_POLL_SECONDS)
        self.has_ended(None)

    def _is_running(self) -> bool:
        try:
            return (
                self._process is not None
                and self._process.is_running()
                and self._process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._ended.is_set():
            return  # its id may belong to another process by now
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            logger.debug("Process group %s has ended", self.pid)


class Server:
    """One forkserver process, as seen from the worker."""

    def __init__(self, environment: Mapping[str, str], modules: Sequence[str]) -> None:
        self._environment = dict(environment)
        self._modules = tuple(modules)
        self._loaded: dict[str, int | None] = {}
        self._children: dict[int, Child] = {}
        self._asked: dict[str, asyncio.Future[Child | None]] = {}
        self._orphans: set[asyncio.Task[None]] = set()
        self.alive = False

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it has imported everything; raise `ServerLost` if it ends."""
        ours, theirs = socket.socketpair()
        module = ForkJob.__module__
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *self._modules]
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        await self._get_ready(process, ours)

    async def start_from(self, parent: Server) -> bool:
        """Fork it from a server of the same environment, and wait as `start` does.

        Returns False if the parent accepts no more jobs.
        """
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.setblocking(False)
            listener.bind(address := f"{folder}/worker")
            listener.listen()
            job = ForkJob(str(uuid4()), "server", modules=self._modules, address=address)
            process = await parent.fork(job)
            if process is None:
                return False
            accepted = asyncio.get_running_loop().sock_accept(listener)
            try:
                ours, _ = await asyncio.wait_for(accepted, CONNECT_SECONDS)
            except TimeoutError as error:
                process.kill()
                raise ServerLost("the forkserver did not connect") from error
        await self._get_ready(process, ours)
        return True

    async def _get_ready(
        self, process: asyncio.subprocess.Process | Child, ours: socket.socket
    ) -> None:
        """Wait until the process has imported everything, then listen to it."""
        self._process = process
        streams = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        self._reader, self._writer = streams
        try:
            line = await asyncio.wait_for(self._reader.readline(), READY_SECONDS)
            self._loaded = json.loads(line)["ready"]
            self.alive = True
        except (TimeoutError, ValueError) as error:
            raise ServerLost("the forkserver did not get ready") from error
        finally:
            if not self.alive:
                self._writer.close()
                self._process.kill()
                await self._process.wait()
        self._listener = asyncio.create_task(self._listen())

    async def fork(self, job: ForkJob) -> Child | None:
        """Return the child that does the job; None if the server accepts no more jobs."""
        answer: asyncio.Future[Child | None] = asyncio.get_running_loop().create_future()
        self._asked[job.id] = answer
        self._send(asdict(job))
        return await answer

    def is_current(self) -> bool:
        """Return True if it runs, and nothing that it loaded has changed since."""
        return self.alive and all(
            read_modified_time(path) == then for path, then in self._loaded.items()
        )

    def retire(self) -> None:
        """Tell it to accept no more jobs and to exit after its last child."""
        if self.alive:
            self._send({"retire": True})

    async def stop(self) -> None:
        """End it and all its children."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), SERVER_GRACE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def _listen(self) -> None:
        """Process the server's reports until it ends."""
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except ConnectionResetError:
            logger.debug("The forkserver closed its connection", exc_info=True)
        finally:
            self._lost()
        await self._process.wait()

    def _take(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            self._children.pop(message["ended"]).has_ended(message["status"])
            return
        pid = message["pid"]
        child = None if pid is None else self._children.setdefault(pid, Child(pid))
        answer = self._asked.pop(message["started"])
        if not answer.cancelled():
            answer.set_result(child)

    def _lost(self) -> None:
        """Watch the remaining children directly: the server will report nothing more."""
        self.alive = False
        self._writer.close()
        for answer in self._asked.values():
            if not answer.cancelled():
                answer.set_exception(ServerLost("the forkserver died during a request to fork"))
        for child in self._children.values():
            task = asyncio.create_task(child.outlive_server())
            self._orphans.add(task)
            task.add_done_callback(self._orphans.discard)


Key = tuple[tuple[str, ...], frozenset[tuple[str, str]]]


class Servers:
    """The forkservers of a worker, one for each environment and set of modules of its runs.

    Each starts independently: slow imports for one run do not delay the others. One with additional
    modules is forked from the one without them, so that what both have is imported once.
    """

    def __init__(self) -> None:
        self._servers: dict[Key, Server] = {}
        self._retired: list[Server] = []
        self._starting: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fork(self, job: ForkJob, modules: Sequence[str], more: Sequence[str] = ()) -> Child:
        """Fork from the warm process for the job's environment; raise `ServerLost` if it ends."""
        while True:
            server = await self.warm(job.env, modules, more)
            child = await server.fork(job)
            if child is not None:
                return child
            self._retire(server)

    async def warm(
        self, environment: Mapping[str, str], modules: Sequence[str], more: Sequence[str] = ()
    ) -> Server:
        """Return the server for the environment; start it if there is none or its code changed.

        ``more`` are modules in addition to those of the server that it is forked from.
        """
        fixed = {k: v for k, v in environment.items() if not k.startswith(RUN_VARIABLES)}
        key = ((*modules, *more), frozenset(fixed.items()))
        async with self._starting[key]:
            server = self._servers.pop(key, None)
            if server is None or not server.is_current():
                if server is not None:
                    self._retire(server)
                server = await self._start(fixed, modules, more)
            self._servers[key] = server
            for stale in list(self._servers.values())[:-MAX_SERVERS]:
                self._retire(stale)
            return server

    async def _start(
        self, environment: Mapping[str, str], modules: Sequence[str], more: Sequence[str]
    ) -> Server:
        server = Server(environment, (*modules, *more))
        if not more or len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
            await server.start()
            return server
        while not await server.start_from(parent := await self.warm(environment, modules)):
            self._retire(parent)
        return server

    async def stop(self) -> None:
        """End all forkservers and their children."""
        servers = [*self._servers.values(), *self._retired]
        await asyncio.gather(*(server.stop() for server in servers))

    def _retire(self, server: Server) -> None:
        server.retire()
        self._servers = {key: one for key, one in self._servers.items() if one is not server}
        self._retired = [one for one in self._retired if one.alive] + [server]
