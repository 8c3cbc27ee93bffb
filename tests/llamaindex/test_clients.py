"""The facts that LLMs report, the metadata of all of them together, and how each is pickled."""

from __future__ import annotations

import datetime
import pickle
import subprocess
import sys
from functools import partial

import pytest
from llama_index.core.llms import ChatMessage, MockLLM

from tryage import Preferences
from tryage.errors import InputError, MissingExtraError
from tryage.hub.catalog import Catalogue
from tryage.hub.parse import parse_model
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._clients import hub_models
from tryage_llamaindex.testing import ScriptedLLM

KEY = "sk-SECRET-5f2a9c"


@pytest.fixture
def roomy():
    return ScriptedLLM(model="scripted-big", window=100_000)


# Metadata ----------------------------------------------------------------------------------


def test_metadata_is_that_of_the_smallest_child_and_never_changes(router, small, roomy):
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router)
    before = llm.metadata
    assert (before.context_window, before.model_name) == (8_000, "tryage")
    assert before.is_chat_model
    llm.chat([ChatMessage("big question")])
    assert llm.metadata is before


def test_metadata_counts_only_children_that_may_be_chosen(router, small, roomy):
    only = Preferences(only=["big"])
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router, preferences=only)
    assert llm.metadata.context_window == 100_000


def test_a_limit_of_the_cost_of_one_request_does_not_change_the_metadata(router, small, big):
    cheap = Preferences(max_cost=0.01)
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, preferences=cheap)
    assert llm.metadata.context_window == 8_000


def test_requirements_that_no_child_meets_do_not_change_the_metadata(router, small, big):
    only = Preferences(only=["unknown"])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, preferences=only)
    assert llm.metadata.context_window == 8_000


def test_the_context_window_can_be_set(router, small, big):
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, context_window=4_096)
    assert llm.metadata.context_window == 4_096


@pytest.mark.parametrize(("able", "expected"), [((True, False), True), ((False, False), False)])
def test_it_calls_functions_if_a_child_does(router, able, expected):
    children = {
        name: ScriptedLLM(model=name, calls_tools=calls_tools)
        for name, calls_tools in zip(("small", "big"), able, strict=True)
    }
    llm = TryageLLM(llms=children, router=router)
    assert llm.metadata.is_function_calling_model is expected


def test_the_default_window_of_llamaindex_is_not_a_fact(router, small):
    llm = TryageLLM(llms={"small": small, "big": MockLLM()}, router=router)
    assert llm._pool.library["big"].context_length is None
    assert llm.metadata.context_window == 3_900


# Facts -------------------------------------------------------------------------------------


def test_without_a_router_models_are_recognised_in_the_bundled_one():
    llm = TryageLLM.from_llms([ScriptedLLM(model="gpt-4o-mini"), ScriptedLLM(model="gpt-4o")])
    assert llm._pool.library["gpt-4o"].aliases == ("gpt-4o-2024-08-06",)
    assert llm._pool.library["gpt-4o"].input_price is not None


def test_facts_come_from_the_users_catalogue_of_the_hub(tmp_path, monkeypatch, big):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
    sizes = {"total": 9 * 10**9, "parameters": {"BF16": 9 * 10**9}}
    record = {"_id": "1" * 24, "id": "org/new-9b", "safetensors": sizes, "downloads": 7}
    fetched = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
    Catalogue().put([parse_model(record, fetched)])
    llm = TryageLLM.from_llms([ScriptedLLM(model="org/new-9b", window=32_000), big])
    expert = llm._pool.library["org/new-9b"]
    assert (expert.parameters, expert.downloads, expert.context_length) == (9e9, 7, 32_000)
    assert expert.metadata["sources"]["context_length"] == "the LLM's own metadata"


# Models of the Hub -------------------------------------------------------------------------


@pytest.mark.parametrize("local", [True, False])
def test_without_the_package_of_the_llms_the_error_says_what_to_install(local, monkeypatch):
    monkeypatch.setattr("tryage_llamaindex._clients._is_installed", lambda _: False)
    with pytest.raises(MissingExtraError, match="pip install llama-index-llms-huggingface"):
        TryageLLM.from_hub(local=local, limit=2)


def test_importing_the_package_needs_no_package_of_llms():
    code = (
        "import sys\n"
        "sys.modules['llama_index.llms.huggingface_api'] = None\n"
        "import tryage_llamaindex"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_a_token_for_the_hub_is_neither_shown_nor_pickled():
    name = "Qwen/Qwen2.5-7B-Instruct"
    pytest.importorskip("llama_index.llms.huggingface_api")
    factory = hub_models([name], local=False, token="hf_SECRET", timeout=3)[name]  # noqa: S106 - not a real token
    assert "SECRET" not in repr(factory)
    assert b"SECRET" not in pickle.dumps(factory)
    assert pickle.loads(pickle.dumps(factory)).settings == {"timeout": 3}  # noqa: S301 - our own


# Pickling ----------------------------------------------------------------------------------


def test_a_key_among_positional_arguments_is_refused_rather_than_pickled(small):
    llm = TryageLLM.from_llms({"gpt-4o": partial(ScriptedLLM, KEY), "gpt-4o-mini": small})
    with pytest.raises(InputError, match="Give it by its name"):
        pickle.dumps(llm)


def test_a_pool_shows_names_and_no_settings(router, big):
    keyed = ScriptedLLM(model="scripted-small", api_key=KEY)
    llm = TryageLLM(llms={"small": keyed, "big": big}, router=router)
    assert repr(llm._clients) == "LLMPool(small, big)"
