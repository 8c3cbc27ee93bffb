"""The only rooms that talk to the Hugging Face Hub."""
