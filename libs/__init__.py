"""The library under the flows: core, specs, definitions, database, adapters and services.

What belongs here: everything that decides or does work. What must not: Prefect flow
definitions (``flows/``), block classes (``blocks/``) and deployment wiring (``deployments/``).
"""
