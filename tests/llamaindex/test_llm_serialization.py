"""Records, copies and pickles of TryageLLM hold no keys, and still work."""

from __future__ import annotations

import copy
import json
import pickle
from functools import partial

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.loading import load_llm
from pydantic import Field, PrivateAttr

from tryage import Expert, Preferences, Router
from tryage.errors import InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

KEY = "sk-SECRET-5f2a9c"


class Keyed(ScriptedLLM):
    """Has a key, headers with another, and a client that cannot be pickled."""

    headers: dict[str, str] = Field(
        default_factory=lambda: {"Authorization": f"Bearer {KEY}", "X-Team": "a"}
    )
    _client: object = PrivateAttr(default_factory=lambda: lambda: KEY)


def keyed(name):
    return Keyed(model=name, api_key=KEY)


@pytest.fixture
def secretive():
    """A TryageLLM without a router of its own, so a pickle loads the bundled one again."""
    return TryageLLM(
        llms={"gpt-4o-mini": keyed("scripted-mini"),
              "gpt-4o": partial(Keyed, model="scripted-4o", api_key=KEY)},
        preferences=Preferences({"cost": 0.5}),
        experts=[Expert("gpt-4o", latency=2.0)],
    )  # fmt: skip


def test_no_key_is_in_the_dict_the_json_the_repr_or_an_event(secretive, observer):
    secretive.chat([ChatMessage("Hi")], tryage_model="gpt-4o-mini")
    forms = [repr(secretive), str(secretive), secretive.to_json(), str(secretive.to_dict()),
             secretive.model_dump_json(), str(secretive.to_payload()),
             *(repr(event.model_dump()) for event in observer.events)]  # fmt: skip
    assert all(KEY not in form for form in forms)


def test_the_dict_describes_each_child_and_the_preferences(secretive):
    written = secretive.to_dict()
    assert written["class_name"] == "TryageLLM"
    assert written["llms"]["gpt-4o-mini"] == {
        "class_name": "ScriptedLLM",
        "model_name": "scripted-mini",
    }
    assert written["preferences"]["weights"] == {"cost": 0.5}


def test_the_dict_and_the_llms_give_an_equal_tryagellm(secretive):
    written = json.loads(secretive.to_json())
    again = TryageLLM.from_dict(written, llms=secretive.llms)
    assert again.to_dict() == secretive.to_dict()
    with pytest.raises(InputError, match="hold keys"):
        TryageLLM.from_dict(written)


def test_load_llm_of_llamaindex_does_not_know_the_class(secretive):
    with pytest.raises(ValueError, match="Invalid LLM name: TryageLLM"):
        load_llm(secretive.to_dict())


def test_a_pickle_holds_no_word_of_a_prompt_or_an_answer():
    children = {name: ScriptedLLM(model=name) for name in ("gpt-4o-mini", "gpt-4o")}
    llm = TryageLLM(llms=children, router=Router.from_pretrained().subset(list(children)))
    llm.complete("my secret zebra4711")
    llm.chat([ChatMessage("zebra4711")])
    with llm.using(query="zebra4711"):
        llm.complete("another secret")
    for child in children.values():
        child.calls.clear()  # what the fake LLM itself has noted
    assert b"zebra4711" not in pickle.dumps(llm)


def test_a_pickle_holds_no_key_and_answers(secretive):
    pickled = pickle.dumps(secretive)
    assert KEY.encode() not in pickled
    again = pickle.loads(pickled)  # noqa: S301 - our own pickle
    assert again.metadata == secretive.metadata
    assert again.to_dict()["preferences"] == secretive.to_dict()["preferences"]
    assert again._pool.library["gpt-4o"].latency == 2.0
    for name in ("gpt-4o-mini", "gpt-4o"):
        response = again.chat([ChatMessage("Hi")], tryage_model=name)
        assert response.additional_kwargs["tryage"]["model"] == name
    child = again._clients.get_client("gpt-4o-mini")
    assert (child.model, child.api_key, child.headers) == ("scripted-mini", None, {"X-Team": "a"})


def test_callbacks_stay_in_their_process(secretive):
    handler = TokenCountingHandler(tokenizer=lambda text: text.split())
    secretive.callback_manager = CallbackManager([handler])
    again = pickle.loads(pickle.dumps(secretive))  # noqa: S301 - our own pickle
    assert handler not in again.callback_manager.handlers


def test_a_pickle_of_a_pickle_is_the_same(secretive):
    once = pickle.loads(pickle.dumps(secretive))  # noqa: S301 - our own pickle
    assert pickle.loads(pickle.dumps(once)).metadata == secretive.metadata  # noqa: S301 - our own pickle


def test_a_deep_copy_shares_the_clients_and_no_conversations(secretive):
    secretive.chat([ChatMessage("Hi")], tryage_model="gpt-4o-mini")
    clone = copy.deepcopy(secretive)
    assert clone.llms["gpt-4o-mini"] is secretive.llms["gpt-4o-mini"]
    assert clone.metadata == secretive.metadata
    assert clone._router_cache is not secretive._router_cache


def test_a_copy_with_other_preferences_chooses_by_them(llm):
    asked = [ChatMessage("small question")]
    assert llm.chat(asked).additional_kwargs["tryage"]["model"] == "small"
    other = llm.model_copy(update={"preferences": Preferences(only=["big"])})
    assert other.chat(asked).additional_kwargs["tryage"]["model"] == "big"
    assert llm.chat(asked).additional_kwargs["tryage"]["model"] == "small"
