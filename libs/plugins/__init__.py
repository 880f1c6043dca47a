"""The built-in definitions, one file each, discovered by entry points like those of others.

What belongs here: definitions that do real work with a specialised library. What must not: the SDK
(``libs.definitions``), Prefect, MLflow or Evidently. Libraries heavier than polars are imported
inside the function that needs them, so that loading the registry stays fast.
"""
