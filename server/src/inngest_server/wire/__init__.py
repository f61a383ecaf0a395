"""How this server reads and writes what travels between it, the SDKs and the senders of events."""
