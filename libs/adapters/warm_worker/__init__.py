"""Warm worker: a Prefect worker type that forks each flow run from a pre-imported process.

``worker`` is the worker class, found by Prefect through its ``prefect.collections`` entry point and
started with ``prefect worker start --pool NAME --type instances-warm``; ``servers`` are its handles
on forkservers and their children; ``forkserver`` is what runs inside those processes. Nothing is
imported here, so that a forkserver loads no worker, and nothing of this project's flows, blocks or
services belongs here: the worker runs any deployment.
"""
