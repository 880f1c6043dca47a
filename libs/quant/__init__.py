"""Numerics without a home elsewhere: prices, the backtest loop, its calendar and its measures.

What belongs here: pure functions over arrays, and over columns where a frame asks the same
question. What must not: databases, definitions, or a decision about instances.
"""
