"""Benchmarks: each figure beside what it is compared to, taken in the same run.

What belongs here: one module a subject, run as ``python -m benchmarks.<subject>``. What must not:
assertions about time.
"""
