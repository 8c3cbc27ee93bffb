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
    [{"preferences": 5}, {"deadline": -1}, {"sticky": "ever"}, {"max_attempts": "x"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_no_value_that_was_given_is_in_an_error_its_details_or_its_pickle(wrong):
    given = {"default": "kwozqmtr", "experts": [Expert("kwozqmtr")]}
    with pytest.raises(ValidationError) as info:
        Model("a", router=ROUTER, **given, **wrong)
    error = info.value
    assert [one["loc"] for one in error.errors()] == [tuple(wrong)]
    shown = [str(error), str(error.errors()), error.json(), *traceback.format_exception(error)]
    assert "kwozqmtr" not in "".join(shown)
    assert b"kwozqmtr" not in pickle.dumps(error)
    assert error.__context__ is None
