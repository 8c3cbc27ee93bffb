"""Temperature, length, stop and time limit reach each LLM in its own words, on a real wire."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage

from tryage_llamaindex import TryageLLM
from tryage_llamaindex._arguments import translate_arguments
from tryage_llamaindex.testing import ScriptedLLM

COMMON = {"temperature": 0.2, "max_tokens": 7, "stop": ["END"], "timeout": 9}


def ollama(url, **settings):
    module = pytest.importorskip("llama_index.llms.ollama")
    return module.Ollama(model="llama3", base_url=url, context_window=4_096, **settings)


def google(url, **settings):
    module = pytest.importorskip("llama_index.llms.google_genai")
    options = pytest.importorskip("google.genai.types").HttpOptions(base_url=url)
    return module.GoogleGenAI(
        model="gemini-2.5-flash",
        api_key="k",
        context_window=9_000,
        http_options=options,
        **settings,
    )


def mistral(url, **settings):
    module = pytest.importorskip("llama_index.llms.mistralai")
    return module.MistralAI(
        model="mistral-small-latest", api_key="k", endpoint=url, max_retries=1, **settings
    )


def openai(url, model="gpt-4o-mini", **settings):
    module = pytest.importorskip("llama_index.llms.openai")
    return module.OpenAI(model=model, api_key="k", api_base=url, max_retries=0, **settings)


def anthropic(url, model="claude-sonnet-4-5-20250929", **settings):
    module = pytest.importorskip("llama_index.llms.anthropic")
    return module.Anthropic(model=model, api_key="k", base_url=url, max_retries=0, **settings)


def sent(providers, child, **kwargs):
    """Return the body of the request that a call with these arguments sends."""
    answer = TryageLLM.from_llms([child]).chat([ChatMessage("Hi")], **kwargs)
    assert answer.message.content == "4"
    return providers.bodies[-1]


def test_ollama_gets_them_as_options_though_its_llm_takes_none_with_a_call(providers):
    child = ollama(
        providers.url, temperature=0.9, additional_kwargs={"num_predict": 1, "mirostat": 0}
    )
    options = sent(providers, child, **COMMON)["options"]
    expected = {"temperature": 0.2, "num_predict": 7, "stop": ["END"], "mirostat": 0}
    assert options == {**expected, "num_ctx": 4_096}
    assert sent(providers, child)["options"]["temperature"] == 0.9  # the child itself is unchanged
    assert child.additional_kwargs == {"num_predict": 1, "mirostat": 0}


def test_gemini_gets_them_in_its_configuration(providers):
    body = sent(providers, google(providers.url, temperature=0.9), **COMMON)
    config = body["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"]) == (0.2, 7)
    assert config["stopSequences"] == ["END"]


def test_mistral_gets_them_with_the_time_limit_in_milliseconds(providers):
    body = sent(providers, mistral(providers.url), **COMMON)
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (0.2, 7, ["END"])


def test_openai_gets_them_and_a_limit_of_the_llm_does_not_hide_that_of_the_call(providers):
    body = sent(providers, openai(providers.url, max_tokens=99), **COMMON)
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (0.2, 7, ["END"])


def test_a_reasoning_model_of_openai_gets_no_temperature(providers):
    body = sent(providers, openai(providers.url, "o3-mini"), temperature=0.2, max_tokens=7)
    assert body["temperature"] == 1.0  # what LlamaIndex sends for it
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_anthropic_gets_stop_sequences(providers):
    child, others = translate_arguments(anthropic(providers.url), COMMON)
    body = child._get_all_kwargs(**others)
    assert (body["temperature"], body["max_tokens"]) == (0.2, 7)
    assert body["stop_sequences"] == ["END"]
    assert "stop" not in body


def test_an_anthropic_model_that_thinks_gets_no_temperature(providers):
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    thinker = anthropic(providers.url, thinking_dict=thinking, max_tokens=2_000)
    assert translate_arguments(thinker, {"temperature": 0.2}) == (thinker, {})


def test_completions_tools_and_predictions_are_translated_too(providers):
    llm = TryageLLM.from_llms([ollama(providers.url)])
    assert str(llm.complete("Hi", **COMMON)) == "4"
    llm.chat_with_tools([], "Hi", **COMMON)
    assert [body["options"]["num_predict"] for body in providers.bodies] == [7, 7]


def test_the_arguments_of_another_llm_stay_as_they_are():
    child = ScriptedLLM()
    kwargs = {**COMMON, "stop": None, "seed": 1}
    assert translate_arguments(child, kwargs) == (child, kwargs)
    translated, others = translate_arguments(child, {})
    assert (translated, others) == (child, {})


def test_words_of_the_provider_are_passed_on(providers):
    body = sent(providers, google(providers.url), generation_config={"top_k": 3}, max_tokens=7)
    assert (body["generationConfig"]["topK"], body["generationConfig"]["maxOutputTokens"]) == (3, 7)
