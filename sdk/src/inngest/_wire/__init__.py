"""Shapes of the wire: JSON, durations, headers, signatures and the registration body."""
