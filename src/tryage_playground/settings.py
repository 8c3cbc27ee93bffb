"""Settings of the playground: what it opens with, and how much it takes."""

from __future__ import annotations

from dataclasses import dataclass

from tryage.core.validation import check_integer, check_strings

DEFAULT_MODELS = (
    "gpt-5.4-nano",
    "gpt-5.4-mini",
    "gpt-5.4",
    "claude-haiku-4-5",
    "claude-opus-4-8",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro",
    "deepseek-v4-flash",
)
"""The models that are compared until the visitor chooses others."""


@dataclass(frozen=True, slots=True)
class PlaygroundSettings:
    """What the page opens with, and limits of what is sent to it.

    Attributes:
        models: The models that are compared at first.
        allowed_hosts: The names by which the page may be opened, beside this computer's own.
        max_body: Bytes of an upload at most; larger ones get the status 413.
        max_prompt: Characters of a prompt at most.
        router: The folder or id of the router, as the programs that the page offers name it; None
            for the bundled one.

    Raises:
        InputError: a number out of range, or a name that is no text.
    """

    models: tuple[str, ...] = DEFAULT_MODELS
    allowed_hosts: tuple[str, ...] = ()
    max_body: int = 20_000_000
    max_prompt: int = 100_000
    router: str | None = None

    def __post_init__(self) -> None:
        """Check the names and the numbers."""
        object.__setattr__(self, "models", check_strings("models", self.models))
        object.__setattr__(self, "allowed_hosts", check_strings("hosts", self.allowed_hosts))
        check_integer("max_body", self.max_body, 1_000)
        check_integer("max_prompt", self.max_prompt, 1)
