"""What one call request comes to: pure, the same for asyncio and threads."""
