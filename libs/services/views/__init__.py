"""Read models: what people and tools are shown.

What belongs here: documents made from the database. What must not: changes of any kind.
"""
