"""When scheduled functions run: the rules of crons, and the loops that follow them."""
