"""The subjects, one a module: each has ``measure(run)``, which yields its figures.

What belongs here: what is measured and what it is compared to. What must not: starting servers,
showing or judging.
"""
