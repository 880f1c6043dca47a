"""Parsing of documents: the base of every spec, and faults as sentences."""
