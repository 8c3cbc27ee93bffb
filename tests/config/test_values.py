"""From tables to objects, with a key for each wrong value."""

from __future__ import annotations

import datetime

from tryage import Expert, Preferences
from tryage.config.schema import ExplorationTable, ModelTable, PreferencesTable
from tryage.config.values import (
    make_expert,
    make_exploration,
    make_preferences,
    value_problems,
)


def test_a_model_is_called_what_it_says_first():
    assert make_expert(ModelTable(model="openai:a", name="big", input_price=1)) == Expert(
        "big", input_price=1.0
    )
    assert make_expert(ModelTable(model="openai:a", api_key_env="X")).name == "openai:a"


def test_the_words_of_preferences_replace_what_their_preset_says():
    table = PreferencesTable(preset="thrifty", weights={"size": 0.2}, only=["a"])
    assert make_preferences(table) == Preferences({"size": 0.2}, answer_value=0.1, only=["a"])
    assert make_preferences(PreferencesTable(preset="thrifty", answer_value=2)).answer_value == 2


def test_a_requirement_may_be_written_out():
    table = PreferencesTable.model_validate(
        {"requirements": [{"field": "released", "op": "<", "value": datetime.date(2026, 1, 1)}]}
    )
    (requirement,) = make_preferences(table).requirements
    assert requirement.value == datetime.date(2026, 1, 1)


def test_exploration_has_the_words_of_its_class():
    assert make_exploration(ExplorationTable(budget=0.1)).budget == 0.1


def test_every_value_that_is_named_is_told_and_none_that_only_follows():
    def make(words):
        return Preferences(**words)

    given = {"answer_value": -1, "tolerance": 2.0, "latency_value": 0.1}
    found = dict(value_problems(make, given))
    assert set(found) >= {"answer_value", "tolerance"}
