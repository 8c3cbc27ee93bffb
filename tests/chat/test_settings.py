"""The settings that routed models have in every framework, and those of one call."""

from __future__ import annotations

import json
import pickle
import traceback

import pytest
from pydantic import BaseModel, Field, ValidationError

from tryage import Expert, Preferences, Router
from tryage.chat import Conversation, Turn
from tryage.chat.candidates import CandidatePool
from tryage.chat.settings import (
    RoutingFields,
    check_settings,
    check_text,
    find_hub_models,
    max_answer_tokens,
    to_preferences,
)
from tryage.errors import InputError, LibraryError, MissingExtraError, NoExpertError
from tryage.testing import FixedPerception


class Model(RoutingFields):
    """A routed model, as a framework would declare it."""

    def __init__(self, *names, **fields):
        super().__init__(**fields)
        self._set_pool(
            CandidatePool.from_experts(map(Expert, names), None), self.default, *names[:1]
        )

    def choose(self, text):
        return self._chat_router.plan(Conversation([Turn("user", text)])).first


ROUTER = Router(FixedPerception({"a": 0.2, "b": 0.3}))


def test_preferences_and_experts_may_be_dicts_and_are_written_as_dicts():
    given = {"preferences": {"weights": {"cost": 1.0}}, "experts": [{"name": "a"}]}
    model = RoutingFields(**given, retry_on={"length", "empty"})
    assert model.preferences == Preferences({"cost": 1.0})
    assert model.experts == (Expert("a"),)
    written = model.model_dump()
    assert written["preferences"] == {"weights": {"cost": 1.0}, "requirements": []}
    assert written["experts"] == [{"name": "a"}]
    assert written["retry_on"] == ["empty", "length"]
    assert json.loads(json.dumps(written)) == written
    assert "router" not in written
    assert RoutingFields(**written).model_dump() == written


@pytest.mark.parametrize("given", ["empty", ["empty"], {"empty"}])
def test_one_refused_answer_may_be_given_alone(given):
    assert RoutingFields(retry_on=given).retry_on == {"empty"}
    with pytest.raises(ValidationError, match="'empty' or 'length'"):
        RoutingFields(retry_on="emtpy")


@pytest.mark.parametrize(
    "wrong",
    [
        {"sticky": "forever"},
        {"max_attempts": 0},
        {"router": "bundled"},
        {"deadline": 0},
        {"deadline": float("inf")},
        {"attempt_timeout": -1},
        {"retry_on": {"long"}},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        RoutingFields(**wrong)


def test_a_misspelt_setting_is_refused_with_the_nearest_name():
    check_settings(["sticky", "retry_on"], RoutingFields)
    with pytest.raises(InputError, match=r"'stickyy' is not a setting of Model\. .*mean sticky"):
        check_settings(["preferences", "stickyy"], Model)


def test_a_setting_may_belong_to_any_of_several_classes_and_have_an_alias():
    class Client(BaseModel):
        stop: list[str] = Field(default=[], alias="stop_sequences")

    check_settings(["stop", "stop_sequences", "sticky"], Model, Client)
    with pytest.raises(InputError, match=r"setting of Model or Client\. .*mean stop_sequences"):
        check_settings(["stop_sequence"], Model, Client)


def test_a_default_that_is_not_one_of_the_models_is_refused():
    with pytest.raises(LibraryError, match="huge"):
        Model("a", "b", router=ROUTER, default="huge")


def test_a_name_without_the_provider_is_enough():
    router = Router(FixedPerception({"openai:a": 0.2, "b": 0.3}))
    assert Model("openai:a", "b", router=router, default="a").choose("hello") == "openai:a"


def test_a_default_answers_without_meeting_the_requirements_only_if_it_is_exempt():
    settings = {"router": ROUTER, "default": "b", "preferences": Preferences(only=["nobody"])}
    assert Model("a", "b", default_exempt=True, **settings).choose("hello") == "b"
    with pytest.raises(NoExpertError):
        Model("a", "b", **settings).choose("hello")


def test_a_framework_gives_its_own_tokenizer():
    class WithTokenizer(Model):
        def _token_counter(self):
            return len

    assert WithTokenizer("a", "b", router=ROUTER)._chat_router.count is len


def test_a_model_chooses_by_its_settings():
    assert Model("a", "b", router=ROUTER).choose("hello") == "a"
    assert Model("a", "b", router=ROUTER, preferences=Preferences(only=["b"])).choose("x") == "b"


def test_a_copy_with_other_preferences_chooses_by_them():
    model = Model("a", "b", router=ROUTER)
    assert model.choose("hello") == "a"
    assert model.model_copy(update={"preferences": Preferences(only=["b"])}).choose("hello") == "b"
    assert model.choose("hello") == "a"


@pytest.mark.parametrize("given", [Preferences(only=["a"]), Preferences(only=["a"]).to_dict()])
def test_the_preferences_of_a_call_are_an_object_or_a_dict(given):
    assert to_preferences(given) == Preferences(only=["a"])


def test_preferences_of_another_type_are_refused():
    with pytest.raises(InputError, match=r"tryage_preferences is a int; expected Pref"):
        to_preferences(7)


def test_a_text_of_a_call_is_a_string_or_none():
    assert (check_text("model", "a"), check_text("model", None)) == ("a", None)
    with pytest.raises(InputError, match="model is a int"):
        check_text("model", 3)


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": None, "max_completion_tokens": 6}, 6),
        ({"max_output_tokens": 7}, 7),
        ({"max_new_tokens": 8}, 8),
        ({"max_tokens": "many"}, None),
    ],
)
def test_the_limit_of_an_answer_has_several_names(arguments, limit):
    assert max_answer_tokens(arguments) == limit


@pytest.fixture
def queries(monkeypatch):
    """Take the place of the Hub; return the queries that reach it."""
    queries = []

    def from_hub(task, **query):
        queries.append((task, query))
        return ROUTER

    monkeypatch.setattr(Router, "from_hub", from_hub)
    return queries


@pytest.mark.parametrize(
    ("local", "query", "asked"),
    [
        (False, {"limit": 2}, {"served": True, "limit": 2}),
        (False, {"served": False}, {"served": False}),
        (True, {"limit": 2}, {"limit": 2}),
    ],
)
def test_only_served_models_are_found_unless_they_run_here(queries, local, query, asked):
    models, router = find_hub_models(dict.fromkeys, "text-generation", query, local=local)
    assert (list(models), router) == (["a", "b"], ROUTER)
    assert queries == [("text-generation", asked)]


def test_a_missing_package_is_reported_before_the_hub_is_asked(queries):
    def make_clients(_):
        raise MissingExtraError("no package")

    with pytest.raises(MissingExtraError):
        find_hub_models(make_clients, None, {}, local=True)
    assert queries == []


class KeyedModel(RoutingFields):
    """A routed model with a field that must be given."""

    models: dict[str, str]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"default": "kwozqmtr"}, "models"),  # of what is missing, pydantic keeps all that is given
        ({"models": {}, "traffic": "mysql://me:kwozqmtr@host/db"}, "traffic"),
        ({"models": {"a": b"kwozqmtr"}, "deadline": "kwozqmtr"}, "deadline"),
    ],
    ids=["missing", "password", "type"],
)
def test_no_value_that_was_given_is_in_an_error_its_details_or_its_pickle(given, place):
    with pytest.raises(ValidationError) as info:
        KeyedModel(router=ROUTER, **given)
    error = info.value
    assert [one["loc"] for one in error.errors()] == [(place,)]
    shown = [str(error), str(error.errors()), error.json(), *traceback.format_exception(error)]
    assert "kwozqmtr" not in "".join(shown)
    assert b"kwozqmtr" not in pickle.dumps(error)
    assert error.__context__ is None
