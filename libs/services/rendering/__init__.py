"""Documents drawn for people: diagrams, plots, numbers and links.

What belongs here: text and pictures made from values. What must not: reads of the database.
"""
