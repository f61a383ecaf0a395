"""Rules that decide when and whether a run may execute, all pure."""
