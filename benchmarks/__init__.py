"""Benchmarks: each figure beside what it is compared to, taken in the same run.

What belongs here: one module a subject in ``subjects``, and what starts, records and shows them.
What must not: assertions about time; a ratio that misses its target is shown, not failed.
"""
