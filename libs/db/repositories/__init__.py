"""Repositories: the SQL statements on our tables, one module for each kind of row.

What belongs here: functions named by verbs (``select_``, ``update_``, ``delete_``) over a session
that the caller opens. What must not: transactions (``libs.services``) or decisions (``libs.core``).
"""
