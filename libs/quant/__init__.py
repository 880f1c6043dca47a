"""Numerical functions: usable prices, sessions, the backtest loop, bars and measures.

What belongs here: pure functions over arrays, and over columns if frames need the same function.
What must not: databases, definitions, or decisions about instances.
"""
