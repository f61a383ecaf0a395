"""The storage protocol, its records, and the backends that implement it."""
