"""What each opcode of a step response does to a run, one file per opcode."""
