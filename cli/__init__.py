"""The command line ``instances``.

What belongs here: parsing of arguments, submission of lifecycle flows, waiting, and display of the
read models of ``libs.services``; ``runtime`` holds the local processes. What must not: any rule
about status, lineage or plans. A command's module is imported when the command is called, so that
``instances --help`` is fast.
"""
