"""The local processes of one home: an embedded Prefect server and a worker.

What belongs here: starting, finding and ending them, and the files in the home that make that safe.
What must not: anything about instances; no other code starts or ends these processes.
"""
