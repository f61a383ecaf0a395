"""The shard owner's loop: load, decide, commit, act."""
