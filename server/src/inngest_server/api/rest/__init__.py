"""REST: what users and SDKs ask about events and runs, and tell the server beside them. Source: protocol 3.4, 7."""
