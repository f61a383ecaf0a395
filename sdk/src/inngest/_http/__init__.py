"""HTTP without a framework: the handler of call requests and syncs, and the client towards the server."""
