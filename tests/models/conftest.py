"""A small snapshot that the tests of models share."""

from __future__ import annotations

import copy

import pytest

SMALL = {
    "format": 1,
    "made": "2026-11-20",
    "sources": {"table": {"url": "https://example.com", "licence": "MIT", "date": "2026-11-20"}},
    "models": {
        "gpt-5.4-mini": {
            "input_price": [0.75, "table", "2026-10-01", 0.97],
            "output_price": [4.5, "table", "2026-10-01", 0.97],
            "cached_input_price": [0.075, "table", "2026-10-01", 0.85],
            "context_length": [400000, "table", None, 0.85],
            "input_modalities": [["image", "text"], "table", None, 0.85],
            "tools": [True, "table", None, 0.85],
            "open_weights": [False, "table", None, 0.85],
            "released": ["2026-03-17", "table", None, 0.85],
        },
        "gpt-4o": {
            "input_price": [2.5, "table", None, 0.97],
            "output_price": [10, "table", None, 0.97],
            "cached_input_price": [1.25, "table", None, 0.85],
        },
        "llama-3.3-70b": {
            "input_price": [0.72, "table", None, 0.6],
            "output_price": [0.72, "table", None, 0.6],
            "open_weights": [True, "table", None, 0.85],
        },
        "gemma-3-4b": {"output_price": [0.08, "table", None, 0.6]},
        "zephyr-7b": {},
    },
    "builds": {
        "gpt-4o": {
            "2024-05-13": {
                "input_price": [5, "table", None, 0.85],
                "output_price": [15, "table", None, 0.85],
            }
        }
    },
    "hosts": {
        "llama-3.3-70b": {
            "groq": {
                "input_price": [0.59, "table", None, 0.85],
                "output_price": [0.79, "table", None, 0.85],
            }
        }
    },
    "aliases": {"chatgpt-4o": "gpt-4o"},
}


@pytest.fixture
def small():
    """Return the content of a snapshot that a test may change."""
    return copy.deepcopy(SMALL)
