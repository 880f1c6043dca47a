"""Adapters: the only importers of the clients of Prefect, MLflow, Evidently and Centrifugo.

What belongs here: one subpackage per vendor that speaks its API, maps its vocabulary to ours once,
and turns its failures into the errors of ``libs.core.errors``. What must not: decisions about
status, lineage or freshness, and any vendor type in a public signature.
"""
