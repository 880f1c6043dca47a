"""What an instance consists of: definitions, components, contracts and rows.

What belongs here: resolving and checking a spec against what is installed and what exists. What
must not: changes of an instance's lifecycle, or runs.
"""
