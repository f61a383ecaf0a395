"""Call requests to apps: composing them, sending them, reading the answers."""
