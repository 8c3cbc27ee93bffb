"""How the middleware works: turns, requests that models can take, tools, who really answered."""
