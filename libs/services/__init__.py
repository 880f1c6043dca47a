"""Services: observe, decide by the core, apply in one transaction.

What belongs here: the work behind the flows and the command line. What must not: Prefect flows,
vendor SDK calls (``libs.adapters`` has these), or rules that the core could decide.
"""
