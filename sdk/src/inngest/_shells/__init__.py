"""The two ways to run a function for one call request: with asyncio, and in the calling thread."""
