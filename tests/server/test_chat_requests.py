"""What the fields of a request mean for ChatTryage."""

import pytest

from tryage import Library
from tryage.errors import InputError, LibraryError
from tryage_server.chat_requests import Choice, read_messages, read_model_name


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("tryage", Choice()),
        ("tryage-auto", Choice()),
        ("thrifty", Choice(preset="thrifty")),
        ("tryage/best", Choice(preset="best")),
        ("gpt-5.6", Choice("openai:gpt-5.6")),
        ("openai:gpt-5.6", Choice("openai:gpt-5.6")),
    ],
)
def test_a_model_is_tryage_a_preset_or_an_expert(name, choice):
    assert read_model_name(name, Library(["openai:gpt-5.6", "other"])) == choice


@pytest.mark.parametrize("name", ["", "gpt-9", "tryage/cheapest"])
def test_another_name_is_an_error(name):
    with pytest.raises(LibraryError, match="GET /v1/models lists all"):
        read_model_name(name, Library(["openai:gpt-5.6", "other"]))


@pytest.mark.parametrize("message", [{}, {"role": "user"}, {"content": "hi"}, {"role": 3}])
def test_malformed_messages_are_errors(message):
    with pytest.raises(InputError, match="messages are malformed"):
        read_messages([message])
