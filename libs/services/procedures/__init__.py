"""What each kind of flow computes.

What belongs here: one module a kind, and the panels and features that several of them read. They
import ``libs.services.runs``, never the reverse.
"""
