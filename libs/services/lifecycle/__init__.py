"""Changes of what exists: provision, update, promote, pause, remove, apply, reconcile.

What belongs here: the steps of each change and the external resources that they create. What must
not: runs of an instance's own flows.
"""
