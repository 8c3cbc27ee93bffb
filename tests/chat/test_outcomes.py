"""What the failure of a model tells about its quality, and which signals can be asked for."""

from __future__ import annotations

import pytest

from tryage.chat.outcomes import SIGNALS, check_signals, signal_of
from tryage.errors import AttemptTimeoutError, InputError, InvalidAnswerError


class StatusError(Exception):
    def __init__(self, status, message=""):
        super().__init__(message)
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "signal"),
    [
        (InvalidAnswerError("no JSON"), "parse"),
        (InvalidAnswerError("empty", problem="empty"), "error"),
        (InvalidAnswerError("cut off", problem="length"), None),
        (StatusError(413, "maximum context length is 8192 tokens"), "error"),
        (StatusError(503), None),
        (StatusError(429), None),
        (StatusError(401), None),
        (ConnectionError("down"), None),
        (AttemptTimeoutError("slow"), None),
        (KeyError("a bug of the caller"), None),
    ],
)
def test_only_what_concerns_the_answer_is_a_signal(error, signal):
    assert signal_of(error) == signal


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, SIGNALS),
        (False, frozenset()),
        ("retry", {"retry"}),
        (["retry", "parse"], {"retry", "parse"}),
        ((), frozenset()),
    ],
)
def test_signals_are_names_or_true_for_all(given, expected):
    assert check_signals(given) == expected


@pytest.mark.parametrize("given", ["thumb", ["retry", 7], 3, None])
def test_unknown_signals_are_refused(given):
    with pytest.raises(InputError, match="signals is"):
        check_signals(given)
