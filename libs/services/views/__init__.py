"""Read models: documents for people and tools.

What belongs here: documents built from the database. What must not: changes of any kind.
"""
