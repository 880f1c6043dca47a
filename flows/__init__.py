"""Prefect flows: the lifecycle of instances and the execution of their work.

What belongs here: thin ``@flow`` shells that call one service and say what came of it. What must
not: SQL, vendor SDKs or rules. One module a flow, named like it: entrypoints can be guessed.
"""
