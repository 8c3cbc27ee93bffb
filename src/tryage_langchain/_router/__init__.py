"""How TryageRouter works: what it decides, and how it runs."""
