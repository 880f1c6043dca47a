"""The Prefect objects needed before any instance: pool, blocks, automations, deployments.

What belongs here: their definitions, and the idempotent function that applies them (``instances
deploy`` calls it). What must not: flows, and the deployments of instances, which provisioning
creates.
"""
