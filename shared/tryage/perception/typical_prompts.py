"""Prompts that stand for all prompts, where one asks which model is the best on average."""

from __future__ import annotations

TYPICAL_PROMPTS = (
    "hi",
    "What is the capital of Australia?",
    "Write a short title for an article about rising rents in European cities.",
    "Summarize this email in one sentence: Hi team, the launch moves from Monday to Thursday, "
    "because the translations are late. Please tell your customers. Best, Ana",
    "Translate into German: We are looking forward to your visit next week.",
    "Is this review positive or negative? 'The battery died after two days, and nobody answered.'",
    "Extract the names and dates as JSON: Maria Lopez signed on 3 May 2024, Jan Kok on 6 May 2024.",
    "Make this more polite: Send me the file now.",
    "Why is the sky blue? Explain it to a child of ten.",
    "¿Qué puedo cocinar con huevos, patatas y una cebolla?",
    "写一封简短的邮件,请老板批准我下周五休假。",
    "Quelle est la différence entre un intérêt simple et un intérêt composé ?",
    "Write a SQL query for the ten customers with the highest turnover of last month.",
    "Write a Python function that removes duplicates from a list and keeps the order.",
    "This Python code hangs sometimes. Why? lock.acquire(); cache.update(fetch()); lock.release()",
    "Compare the advantages of PostgreSQL and MongoDB for a shop with 50,000 orders a day.",
    "A train leaves at 9:40 and arrives at 13:05. How long does it take?",
    "Find all real solutions of x^4 - 5x^2 + 4 = 0, and show each step.",
    "Prove that there are infinitely many primes of the form 4k + 3.",
    "Implement a thread-safe LRU cache with expiry in Go, with tests, and state its complexity.",
    "A patient of 67 takes warfarin and is given clarithromycin. What must be watched, and why?",
    "Write a poem of four lines about the first snow.",
    "Which clauses of a rental contract are usually invalid in Germany, and why?",
    "Derive the maximum likelihood estimator of the rate of a Poisson process of which every event "
    "is seen with a known probability.",
)
"""Everyday kinds and hard ones, in several languages, none of them from a set of outcomes."""
