"""The part of a long prompt that is read: its two ends, where the task stands."""

from __future__ import annotations

# A prompt of up to this length, about 4,000 tokens of English, is read whole. Of a longer one only
# the two ends are read, so that a prompt of any length takes the time of this one. All that is read
# of a prompt for its losses comes from here.
MAX_CHARACTERS = 16_384


def excerpt(prompt: str) -> str:
    """Return the prompt, or if it is longer than `MAX_CHARACTERS`, its first and last characters.

    An excerpt has at most `MAX_CHARACTERS` characters, so the excerpt of an excerpt is itself.
    """
    if len(prompt) <= MAX_CHARACTERS:
        return prompt
    half_length = MAX_CHARACTERS // 2
    return f"{prompt[:half_length]} {prompt[1 - half_length :]}"
