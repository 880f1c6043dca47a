"""Reading what people write: the base of every spec, and faults as sentences."""
