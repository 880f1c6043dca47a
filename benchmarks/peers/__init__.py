"""Airflow and Dagster on the graphs that we are measured on, in environments of their own.

What belongs here: the graphs, one module for each system, and how the records of all three are
judged. ``projects`` holds the files that run inside the peers' environments. What must not: figures
and their wording, which are in ``benchmarks.subjects.peers``.
"""
