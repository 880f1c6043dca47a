"""One run of an instance's flow, from its claim to its publication.

What belongs here: what all kinds of run share. What must not: what one kind computes
(``libs.services.procedures``).
"""
