"""What a framework does for a call: it makes clients, asks them, and reads their answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tryage.policies.evidence import AnswerEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tryage.chat.plan import RoutingRecord
    from tryage.core.usage import TokenUsage

SAMPLE_KEY = "sample"
"""Where the record of a call says which sample it is, whose answer is only evidence."""


@dataclass(frozen=True)
class FallbackHooks:
    """What a framework does to get one conversation answered; async hooks return awaitables.

    `get_client` returns the client of an expert by its name. `emit_event` reports to observers
    which expert is asked and why. `call` returns the client's answer, or the start of its stream.
    `answer_problems` tells of a whole answer that it is "empty", or cut off by its "length".
    `read_usage` returns the tokens of a whole answer, None if they are unknown; it also gets None,
    for an answer that was refused and is lost. `read_text` returns the text of a whole answer, None
    if it has none. Where several calls were made at the same time, `answered_by` is told which
    answer is read next, by the `call_key` of its record. `read_evidence` returns what a whole
    answer, or the stream of which some is read, tells about itself.

    `answer_size` returns about how many characters a whole answer has.

    `to_cache` returns a copy of an answer, or of all chunks of a stream, as a cache keeps it; None
    is not kept. `from_cache` returns from it what `call` would return; without it no cache is read.
    """

    get_client: Callable[[str], Any]
    emit_event: Callable[[RoutingRecord], Any]
    call: Callable[[Any, RoutingRecord], Any]
    answer_problems: Callable[[Any], Collection[str]] = field(default=lambda _: ())
    read_usage: Callable[[Any], TokenUsage | None] = field(default=lambda _: None)
    read_text: Callable[[Any], str | None] = field(default=lambda _: None)
    answered_by: Callable[[str], None] = field(default=lambda _: None)
    read_evidence: Callable[[Any], AnswerEvidence] = field(default=lambda _: AnswerEvidence())
    to_cache: Callable[[Any], Any] = field(default=lambda _: None)
    from_cache: Callable[[Any], Any] | None = None
    answer_size: Callable[[Any], int] = field(default=lambda _: 0)


def call_key(record: RoutingRecord) -> str:
    """Return what tells a call from others at the same time: its expert, or which sample it is."""
    return str(record.get(SAMPLE_KEY, record["model"]))
