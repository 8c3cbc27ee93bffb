"""ChatTryage passes LangChain's own standard tests, over two models that call tools."""

from __future__ import annotations

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from tryage import Router
from tryage.testing import FixedPerception
from tryage_langchain.chat import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

ROUTER = Router(FixedPerception({"small": 0.2, "big": 0.3}))


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    """The media tests download an image, a sound and a document; a fake takes any bytes."""
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "none")
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, content=b"any"))


class ChatOfTwoModels:
    """The same ChatTryage for both suites."""

    @property
    def chat_model_class(self):
        return ChatTryage

    @property
    def chat_model_params(self):
        names = ("small", "big")
        models = {name: ScriptedChatModel(model=f"scripted-{name}") for name in names}
        return {"models": models, "router": ROUTER}

    @property
    def model_override_value(self):
        return "big"

    supports_json_mode = True
    supports_anthropic_inputs = True
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_audio_inputs = True


class TestUnit(ChatOfTwoModels, ChatModelUnitTests):
    """Construction and declaration."""

    @property
    def init_from_env_params(self):
        return {"LC_OUTPUT_VERSION": "v1"}, self.chat_model_params, {"output_version": "v1"}


class TestIntegration(ChatOfTwoModels, ChatModelIntegrationTests):
    """What a chat model does when it is called."""
