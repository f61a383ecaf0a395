"""Actions on many runs at once: durable, in slices, bounded by the moment at which they were asked for."""
