"""Check that the default suite notices small faults: ``python -m tests.mutants``."""
