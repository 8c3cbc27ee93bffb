"""TryageLLM of a file of settings, and its LLMs."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest

pytest.importorskip("watchfiles")

from tryage.errors import ConfigError
from tryage_llamaindex import TryageLLM

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
