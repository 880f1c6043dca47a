"""The fault harness: random faults of real processes while a refresh travels through 20 instances.

``python -m tests.faults --rounds 100 --database sqlite`` runs it; ``docs/reliability.md`` says what
a round does and what has to hold after it.
"""
