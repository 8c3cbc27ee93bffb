"""The part of a long prompt that is read: its two ends, where the task stands."""

from __future__ import annotations

# A prompt of up to this length in UTF-8, about 2,000 tokens of English, is read whole. Of a longer
# one only the two ends are read, so that it costs the time of this one. All that is read of a
# prompt for its losses comes from here. More leads to no better choices (benchmarks/README.md).
MAX_BYTES = 8_192


def excerpt(prompt: str) -> str:
    """Return the prompt, or if it is longer than `MAX_BYTES`, its first and its last characters.

    An excerpt has at most `MAX_BYTES`, so the excerpt of an excerpt is itself. A lone surrogate,
    which UTF-8 cannot write, becomes a question mark in an excerpt.
    """
    if len(prompt) <= MAX_BYTES and (prompt.isascii() or len(_utf8(prompt)) <= MAX_BYTES):
        return prompt
    half = MAX_BYTES // 2
    head, tail = _utf8(prompt[:half])[:half], _utf8(prompt[-half:])[1 - half :]
    return f"{head.decode(errors='ignore')} {tail.decode(errors='ignore')}"


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")
