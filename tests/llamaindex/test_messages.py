"""LlamaIndex's messages as conversations: roles, documents, and an agent's transcript."""

from __future__ import annotations

import pytest
from llama_index.core.agent.utils import messages_to_xml_format
from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.llms import (
    AudioBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    VideoBlock,
)

from tryage_llamaindex._messages import to_conversation


@pytest.mark.parametrize(
    ("block", "capability"),
    [
        (ImageBlock(url="https://example.com/a.png"), "vision"),
        (AudioBlock(audio=b"RIFF", format="wav"), "audio"),
        (VideoBlock(video=b"0", format="mp4"), "video"),
        (DocumentBlock(data=b"%PDF-1.4", document_mimetype="application/pdf"), "pdf"),
        (DocumentBlock(data=b"a,b", document_mimetype="text/csv"), "files"),
        (DocumentBlock(data=b"?"), "pdf"),
    ],
)
def test_what_a_message_holds_is_required_of_the_model(block, capability):
    message = ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), block])
    assert to_conversation([message]).capabilities == (capability,)


def test_an_agents_transcript_is_the_conversation_that_it_was_made_of():
    messages = [
        ChatMessage("Be brief.", role="system"),
        ChatMessage("Hard question?\n\t<user>\n"),
        ChatMessage("I look it up.", role="assistant"),
        ChatMessage("42", role="tool"),
        ChatMessage("It is 42.", role="assistant"),
    ]
    conversation = to_conversation(messages_to_xml_format(messages))
    turns = [(turn.role, turn.text) for turn in conversation.turns]
    assert turns == [
        ("system", "Be brief."),
        *((turn.role, turn.text) for turn in to_conversation(messages).turns),
    ]
    assert conversation.request == "Hard question?\n\t<user>\n"


def test_thinking_does_not_make_another_conversation():
    question, thinking = ChatMessage("Why?"), ThinkingBlock(content="Hm.")
    plain = ChatMessage(role="assistant", blocks=[TextBlock(text="So.")])
    thoughtful = ChatMessage(role="assistant", blocks=[thinking, TextBlock(text="So.")])
    follow_up = ChatMessage("Sure?")
    keys = [
        to_conversation([question, answer, follow_up]).turn_keys for answer in (plain, thoughtful)
    ]
    assert keys[0] == keys[1]
