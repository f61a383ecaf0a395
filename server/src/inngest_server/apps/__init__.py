"""Registered apps and their functions: reading a configuration, judging it, comparing two syncs. Pure."""
