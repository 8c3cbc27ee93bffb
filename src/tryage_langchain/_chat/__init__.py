"""How ChatTryage works: what a call asks, who answers, and what is told of it."""
