"""Onboarding: what new models are good at, from their answers to few prompts."""
