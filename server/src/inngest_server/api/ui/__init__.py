"""The API of the server's own interface and of its commands, under `/api/ui/v1`. Ours alone."""
