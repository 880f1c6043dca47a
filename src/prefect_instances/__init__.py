"""Instances of versioned quant definitions on Prefect."""
