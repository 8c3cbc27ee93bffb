"""What the fields of a request mean for ChatTryage."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tryage import Library
from tryage.errors import InputError, LibraryError
from tryage_server.chat_requests import (
    ChatRequest,
    Choice,
    read_chat_request,
    read_messages,
    read_model_name,
)


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


KEYS = (
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "tool_calls",
    "id",
    "function",
    "name",
    "arguments",
    "tool_call_id",
)
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["user", "assistant", "tool", "system", "function"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=10,
)
FIELDS = [*ChatRequest.model_fields, "other"]


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), ODD, max_size=6) | ODD, max_size=3))
def test_any_messages_are_read_or_refused_in_words(messages):
    with contextlib.suppress(InputError):
        read_messages(messages)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=5))
def test_any_body_is_a_request_or_refused_in_words(chat, fields):
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    try:
        call = read_chat_request(chat, ChatRequest(**body), 10.0)
    except (ValidationError, InputError, LibraryError):
        return
    assert call.messages
