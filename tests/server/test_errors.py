"""Which status an error gets, and that it shows no credential."""

import pytest

from tryage.errors import (
    AllFailedError,
    BudgetExceededError,
    DeadlineExceededError,
    InputError,
    LibraryError,
    NoExpertError,
)
from tryage_server.errors import error_status, exception_response


class ProviderError(Exception):
    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LibraryError("unknown"), 404),
        (InputError("malformed"), 400),
        (NoExpertError("none"), 422),
        (BudgetExceededError("spent"), 429),
        (DeadlineExceededError("late"), 504),
        (AllFailedError("all"), 502),
        (ProviderError("slow down", 429), 429),
        (ProviderError("too long", 413), 413),
        (ProviderError("your key is wrong", 401), 502),
        (ProviderError("broken", 500), 502),
        (ZeroDivisionError("a mistake"), 500),
    ],
)
def test_an_error_has_the_status_of_what_it_is(error, status):
    assert error_status(error) == exception_response(error).status_code == status


def test_a_spent_budget_has_the_code_of_openai():
    response = exception_response(BudgetExceededError("spent"))
    assert b'"code":"insufficient_quota"' in response.body


def test_an_error_shows_no_credential():
    error = ProviderError("Incorrect API key provided: sk-proj-abcdefghijklmnopqrstuvwx", 401)
    assert b"abcdefghij" not in exception_response(error).body
