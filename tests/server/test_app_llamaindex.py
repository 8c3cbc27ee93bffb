"""The server as LlamaIndex's own class of OpenAI sees it."""

import pytest

OpenAI = pytest.importorskip("llama_index.llms.openai").OpenAI


@pytest.fixture
def llm(url):
    # The name of a known model, because the class looks up the length of its context.
    return OpenAI(model="gpt-4o-mini", api_base=f"{url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def models(models):
    return {"gpt-4o-mini": models["small"], "large": models["large"]}


def test_it_gets_an_answer_and_a_stream(llm):
    assert llm.complete("hello").text == "Hello from small today"
    *_, last = llm.stream_complete("hello")
    assert last.text == "Hello from small today"


def test_it_calls_a_tool(llm):
    from llama_index.core.tools import FunctionTool

    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"sun in {city}"

    tool = FunctionTool.from_defaults(weather)
    answer = llm.chat_with_tools([tool], "hello", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "weather"
