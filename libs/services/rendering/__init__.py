"""Documents for people: diagrams, plots, numbers and links.

What belongs here: text and pictures built from values. What must not: reads of the database.
"""
