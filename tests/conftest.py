"""The Hub's inference router on the loopback device, for the models that frameworks make of it."""

from __future__ import annotations

import json
import threading

import pytest

from tryage.testing.hub.http import FakeResponse, LoopbackServer


class Inference:
    """Answers in OpenAI's protocol, word by word if asked to.

    `heard` are the requests with what they asked; models in `down` are overloaded. Who is offered
    tools calls the first one, once.
    """

    def __init__(self):
        self.heard, self.down = [], set()

    def __call__(self, request):
        asked = request.json()
        self.heard.append((request, asked))
        if asked["model"] in self.down:
            return FakeResponse(
                503, b'{"error": "overloaded"}', {"Content-Type": "application/json"}
            )
        words = ["Hello ", "from ", asked["model"]]
        if asked.get("stream"):
            lines = [_told(asked, None, delta=_said(word)) for word in words]
            lines += [_told(asked, delta=_said("")), "[DONE]"]
            body = "".join(f"data: {line}\n\n" for line in lines)
            return FakeResponse(200, body.encode(), {"Content-Type": "text/event-stream"})
        calls = asked.get("tools") and asked["messages"][-1]["role"] != "tool"
        message = _called(asked["tools"][0]) if calls else _said("".join(words))
        return FakeResponse(200, _told(asked, message=message).encode())


def _said(text):
    return {"role": "assistant", "content": text}


def _called(tool):
    function = {"name": tool["function"]["name"], "arguments": '{"where": "x"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return {**_said(""), "tool_calls": [call]}


def _told(asked, finish="stop", **spoken):
    choice = {"index": 0, "finish_reason": finish, **spoken}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    named = {"id": "1", "created": 1, "model": asked["model"], "object": "chat.completion"}
    return json.dumps({**named, "choices": [choice], "usage": usage})


@pytest.fixture
def inference(monkeypatch):
    common = pytest.importorskip("huggingface_hub.inference._providers._common")
    answers = Inference()
    with LoopbackServer(answers) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        auto = common.AutoRouterConversationalTask
        monkeypatch.setattr(auto, "_prepare_base_url", lambda *_: url)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        server.shutdown()
