"""Prompt in, predicted losses out: encoders, abilities, training and persistence."""
