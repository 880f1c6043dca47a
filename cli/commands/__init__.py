"""The commands, one module for each group.

What belongs here: typer functions that parse arguments, call one service or flow and show the
answer. ``cli.app`` lists them and imports a module when one of its commands is called.
"""
