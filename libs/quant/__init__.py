"""Numerics without a home elsewhere: the backtest loop, its calendar and its measures.

What belongs here: pure functions over arrays. What must not: frames, databases, definitions, or a
decision about instances.
"""
