"""What has to be in Prefect before the first instance: pool, block types, automations, deployments.

What belongs here: the definitions of those, and the one idempotent command that applies them
(``instances deploy``). What must not: flows, and the deployments of instances, which
provisioning makes.
"""
