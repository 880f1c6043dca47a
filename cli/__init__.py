"""The command line ``instances``.

What belongs here: parsing of arguments, submitting lifecycle flows, waiting, and showing what the
read models of ``libs.services`` say; ``runtime`` holds the local processes. What must not: any rule
about status, lineage or plans. Modules import Prefect and the database inside functions, so that
``instances --help`` is instant.
"""
