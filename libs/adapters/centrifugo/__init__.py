"""Centrifugo: publishing over its HTTP API, and the tokens that its subscribers show.

What belongs here: the only importers of ``cent`` and ``jwt``. What must not: what is published, and
when. Nothing is imported here: most who need a connection's form publish nothing.
"""
