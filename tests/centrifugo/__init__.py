"""A stand-in for Centrifugo, as far as its two real clients, cent and centrifuge-python, go.

What belongs here: the contract server and nothing that tests the project. Where ``CENTRIFUGO_URL``
is set, the suites run against that server instead, except where they inject faults.
"""
