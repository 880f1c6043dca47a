"""Prefect flows: the lifecycle of instances and the execution of their runs.

What belongs here: thin ``@flow`` functions that call one service and report the outcome. What must
not: SQL, vendor SDKs or rules. Each flow has a module of the same name, so that entrypoints can be
guessed.
"""
