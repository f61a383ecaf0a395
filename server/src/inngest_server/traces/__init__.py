"""What really happened to a run, as a tree of spans computed from what is stored."""
