"""The computation of each kind of flow.

What belongs here: one module for each kind, and the panels and features that several of them read.
They import ``libs.services.runs``, never the reverse.
"""
