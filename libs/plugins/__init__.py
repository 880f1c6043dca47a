"""The built-in definitions, one file each, found by their entry points like anybody else's.

What belongs here: definitions that do real work with a library made for it. What must not: the
SDK (``libs.definitions``), Prefect, MLflow or Evidently. Libraries heavier than polars are
imported inside the function that needs them, so that loading the registry stays cheap.
"""
