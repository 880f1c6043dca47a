"""Services: observe, let the core decide, write the result in one transaction.

What belongs here: the work behind the flows and the command line. What must not: Prefect flows,
vendor SDK calls (``libs.adapters`` has these), or rules that the core could decide.
"""
