"""What the log of traffic shows: quality, spending, who got what, and which router is better."""
