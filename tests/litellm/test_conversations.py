"""Requests of LiteLLM as conversations."""

import pytest

from tryage_litellm.conversations import read_conversation

HELLO = {"role": "user", "content": "What is the capital of Italy?"}


def test_roles_texts_and_calls_become_turns():
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "sun"},
    ]
    turns = read_conversation(messages, {}).turns
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool"]
    assert [turn.text for turn in turns] == ["be kind", "one\ntwo", "", "sun"]
    assert '"weather"' in turns[2].calls


@pytest.mark.parametrize(
    ("part", "capability"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "vision"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "audio"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, "pdf"),
        ({"type": "file", "file": {"file_id": "1", "format": "application/pdf"}}, "pdf"),
        ({"type": "file", "file": {"file_id": "1", "filename": "Report.PDF"}}, "pdf"),
        ({"type": "file", "file": {"file_data": "data:text/csv;base64,AAAA"}}, "files"),
    ],
)
def test_images_sounds_and_files_require_a_model_that_reads_them(part, capability):
    conversation = read_conversation([{"role": "user", "content": [part]}], {})
    assert conversation.capabilities == (capability,)
    assert conversation.turns[0].digest


def test_the_arguments_of_a_request_are_read():
    schema = {"type": "json_schema", "json_schema": {"name": "place", "schema": {}}}
    tool = {"type": "function", "function": {"name": "weather"}}
    request = {
        "tools": [tool],
        "response_format": schema,
        "max_tokens": 7,
        "user": "ada",
        "metadata": {"session_id": "s", "tags": ["eu", 1]},
    }
    conversation = read_conversation([HELLO], request)
    assert conversation.capabilities == ("tools", "structured_output")
    assert conversation.tool_names == ("weather",)
    assert conversation.answer_tokens == 7
    assert (conversation.thread, conversation.keys) == ("s", {"user_id": "ada"})
    assert conversation.tags == ("eu",)


@pytest.mark.parametrize("metadata", [None, "text", {"tags": "eu", "session_id": 3}])
@pytest.mark.parametrize("message", [{"content": 3}, "text", {"role": "user", "content": [3]}])
def test_what_is_not_in_openais_form_counts_as_nothing(message, metadata):
    request = {"metadata": metadata, "user": 3, "max_tokens": "many"}
    conversation = read_conversation([message, HELLO], request)
    assert conversation.request == HELLO["content"]
    assert conversation.tags == ()
    assert conversation.thread is conversation.answer_tokens is None
