"""Centrifugo: publishing over its HTTP API, and tokens for subscribers.

What belongs here: the only importers of ``cent`` and ``jwt``. What must not: which messages are
published, and when. Nothing is imported here: most users of ``Connection`` publish nothing.
"""
