"""The pure core: statuses, aggregation, lineage, the gate and the transitions between states.

What belongs here: frozen values and pure functions of them, with ``now`` as an argument.
What must not: I/O, a clock, randomness, or any import beyond the standard library.
"""
