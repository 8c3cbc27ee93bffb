"""What a framework need not do for a call, because nothing is a good answer."""

from __future__ import annotations

from tryage.chat.hooks import FallbackHooks


def test_only_clients_events_and_calls_are_required():
    hooks = FallbackHooks(str, print, print)
    assert not hooks.answer_problems("an answer")
    assert hooks.read_usage("an answer") is None
    assert hooks.read_text("an answer") is None
    assert hooks.answered_by("an expert") is None
