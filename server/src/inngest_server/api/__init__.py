"""The HTTP surface: events, registration, REST."""
