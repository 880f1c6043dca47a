"""The commands, one module for each group.

What belongs here: typer functions that parse arguments, call one service or flow and show the
answer. What must not: imports of Prefect, the database or services at module level.
"""
