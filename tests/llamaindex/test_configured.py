"""TryageLLM of a file of settings, and its LLMs."""

from __future__ import annotations

import copy
import pickle
import sys
from types import ModuleType

import pytest

pytest.importorskip("watchfiles")

from tryage.errors import ConfigError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

CLIENTS = """
from tryage_llamaindex.testing import ScriptedLLM

small = ScriptedLLM(model="gpt-5.4-nano")
big = ScriptedLLM(model="gpt-5.4")
"""

PROMPT = "Prove that there are infinitely many primes."


def text(only="small"):
    tables = "".join(
        f'[[models]]\nname = "{name}"\nclient = "tryage_test_llms:{name}"\n'
        'about_as_good_as = "gpt-5.4"\n'
        for name in ("small", "big")
    )
    return f'{tables}[preferences]\nonly = ["{only}"]\n'


@pytest.fixture
def path(tmp_path):
    (tmp_path / "tryage_test_llms.py").write_text(CLIENTS)
    file = tmp_path / "tryage.toml"
    file.write_text(text())
    yield file
    sys.modules.pop("tryage_test_llms", None)


def answered_by(answer):
    return answer.additional_kwargs["tryage"]["model"]


def test_the_chosen_llm_answers_and_a_new_file_changes_the_choice(path):
    llm = TryageLLM.from_config(path, watch=True)
    assert answered_by(llm.complete(PROMPT)) == "small"
    path.write_text(text("big"))
    assert llm._watch.reload()
    assert answered_by(llm.complete(PROMPT)) == "big"
    copies = copy.deepcopy(llm), pickle.loads(pickle.dumps(llm))  # noqa: S301 - our own
    path.write_text(text("small"))
    assert llm._watch.reload()
    llm.close()
    assert {answered_by(one.complete(PROMPT)) for one in copies} == {"big"}
    assert llm.savings().answers == 2


def test_a_string_is_the_llm_of_the_package_of_its_provider(path, monkeypatch):
    pytest.importorskip("llama_index.llms.mistralai")
    monkeypatch.setenv("OWN_KEY", "a-key-of-a-test")
    path.write_text(
        '[[models]]\nmodel = "mistralai:mistral-large-latest"\napi_key_env = "OWN_KEY"\n'
        "settings = {temperature = 0.5}\n"
    )
    llm = TryageLLM.from_config(path).llms["mistralai:mistral-large-latest"]
    assert (type(llm).__name__, llm.model, llm.temperature) == (
        "MistralAI",
        "mistral-large-latest",
        0.5,
    )


class OpenAI(ScriptedLLM):
    """Knows one model, as the class of llama-index-llms-openai knows those of OpenAI."""

    api_base: str | None = None

    @property
    def metadata(self):
        if self.model != "gpt-5.4":
            raise ValueError(f"Unknown model {self.model!r}. Please provide a valid OpenAI model.")
        return super().metadata


class OpenAILike(ScriptedLLM):
    """Takes what the class of llama-index-llms-openai-like takes."""

    api_base: str | None = None
    context_window: int = 3_900
    is_chat_model: bool = False
    is_function_calling_model: bool = False


@pytest.fixture
def openai_packages(monkeypatch):
    for name, cls in (("openai", OpenAI), ("openai_like", OpenAILike)):
        module = ModuleType(f"llama_index.llms.{name}")
        setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("openai_packages")
def test_a_model_of_another_maker_behind_an_address_is_like_one_of_openai(path):
    address = 'base_url = "http://127.0.0.1:9/v1"\n'
    path.write_text(
        f'[[models]]\nmodel = "openai:gpt-5.4"\n{address}'
        f'[[models]]\nmodel = "openai:claude-sonnet-4-5"\n{address}'
        f'[[models]]\nmodel = "openai:ours"\ncontext_length = 9000\ncapabilities = []\n{address}'
    )
    own, known, ours = TryageLLM.from_config(path).llms.values()
    assert (type(own), own.api_base) == (OpenAI, "http://127.0.0.1:9/v1")
    assert (type(known), known.model, known.api_base) == (
        OpenAILike,
        "claude-sonnet-4-5",
        "http://127.0.0.1:9/v1",
    )
    assert (known.context_window, known.is_function_calling_model) == (200_000, True)
    assert (ours.context_window, ours.is_function_calling_model) == (9_000, False)
    assert ours.is_chat_model


@pytest.mark.usefixtures("openai_packages")
def test_a_model_that_the_class_of_openai_lacks_is_told_before_any_call(path):
    path.write_text('[[models]]\nmodel = "openai:gpt-5.4"\n[[models]]\nmodel = "openai:gpt-6"\n')
    with pytest.raises(ConfigError, match="does not know 'gpt-6'") as caught:
        TryageLLM.from_config(path)
    assert caught.value.problems[0].line == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('name = "a"', "means no LLM"),
        ('model = "opnai:gpt-5.4"', "Did you mean openai"),
        ('model = "groq:no-such-package"', "pip install llama-index-llms-groq"),
        ('model = "google_genai:gemini"\nbase_url = "http://x"', "takes no base_url"),
    ],
)
def test_what_cannot_be_asked_is_told_with_its_line(path, table, message):
    path.write_text(f"[[models]]\n{table}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        TryageLLM.from_config(path)
    assert caught.value.problems[0].line == 1
