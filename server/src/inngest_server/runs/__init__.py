"""The pure state machine of a run: facts in, decisions out."""
