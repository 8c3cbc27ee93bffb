"""Which media a message holds, in the formats of LangChain and of the providers."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage

from tryage import Expert
from tryage.errors import NoExpertError
from tryage_langchain import ChatTryage
from tryage_langchain._messages import media_counts, media_digest
from tryage_langchain.testing import ScriptedChatModel

PDF = "application/pdf"
BLOCKS = [
    ({"type": "text", "text": "x"}, {}),
    ({"type": "image", "url": "https://a/b.png"}, {"images": 1}),
    ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, {"images": 1}),
    ({"type": "input_audio", "input_audio": {"data": "AA"}}, {"audio": 1}),
    ({"type": "video", "url": "https://a/b.mp4"}, {"videos": 1}),
    ({"type": "file", "mime_type": PDF, "base64": "AA"}, {"pdfs": 1}),
    ({"type": "file", "url": "https://a/b.pdf"}, {"pdfs": 1}),
    ({"type": "file", "file": {"file_data": f"data:{PDF};base64,AA"}}, {"pdfs": 1}),
    ({"type": "file", "file": {"filename": "a.PDF", "file_data": "AA"}}, {"pdfs": 1}),
    ({"type": "file", "mime_type": "text/csv", "base64": "AA"}, {"files": 1}),
    ({"type": "file", "file_id": "f1"}, {"files": 1}),
    ({"type": "document", "source": {"type": "base64", "media_type": PDF}}, {"pdfs": 1}),
    ({"type": "document", "source": {"type": "text", "media_type": "text/plain"}}, {"files": 1}),
    ({"type": "media", "mime_type": "video/mp4", "data": "AA"}, {"videos": 1}),
    ({"type": "media", "mime_type": "audio/wav", "data": "AA"}, {"audio": 1}),
    ({"type": "tool_use", "id": "1"}, {}),
    ({"no": "type"}, {}),
]


@pytest.mark.parametrize(("block", "counts"), BLOCKS)
def test_a_block_is_counted_by_what_it_holds(block, counts):
    assert media_counts([block]) == counts


def test_several_are_added_up():
    assert media_counts([block for block, _ in BLOCKS])["pdfs"] == 5


def test_a_digest_distinguishes_media_and_ignores_text():
    first, second = {"type": "image", "url": "a"}, {"type": "image", "url": "b"}
    assert media_digest([first]) != media_digest([second])
    assert media_digest([first, {"type": "text", "text": "x"}]) == media_digest([first])
    assert media_digest([]) == ""


@pytest.mark.parametrize(
    ("block", "field"),
    [
        ({"type": "file", "mime_type": PDF, "base64": "AA"}, "pdf_inputs"),
        ({"type": "video", "base64": "AA", "mime_type": "video/mp4"}, "video_inputs"),
    ],
)
def test_a_model_that_cannot_read_it_is_left_out(router, block, field):
    able, unable = ({field: value} for value in (True, False))
    models = {
        "small": ScriptedChatModel(model="a", profile=able),
        "big": ScriptedChatModel(model="b", profile=unable),
    }
    message = HumanMessage([{"type": "text", "text": "big question"}, block])
    answer = ChatTryage.from_models(models, router=router).invoke([message])
    assert answer.text == "Hello from a today"
    with pytest.raises(NoExpertError):
        ChatTryage.from_models({"big": models["big"]}, router=router).invoke([message])


def test_a_model_of_which_nothing_is_known_is_tried(router):
    facts = [Expert("big", context_length=1_000)]
    chat = ChatTryage.from_models({"big": ScriptedChatModel()}, router=router, experts=facts)
    assert chat.invoke([HumanMessage([{"type": "file", "mime_type": PDF, "base64": "AA"}])]).text
