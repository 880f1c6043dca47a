"""Stored state, and what follows a commit.

What belongs here: transactions that apply decisions of the core, delivery of events to Prefect and
to subscribers, and recovery of runs that ended without reporting. What must not: what an instance
consists of, or what a run computes.
"""
