"""Settings as TOML, and back."""

from __future__ import annotations

import datetime

import pytest

from tryage import Expert, Preferences
from tryage.config.load import load_config
from tryage.config.policy_schema import BudgetTable, OwnPolicyTable
from tryage.config.schema import Config, ModelTable, RouterTable, RuleTable, TrafficTable
from tryage.config.values import make_expert, make_preferences
from tryage.config.write import model_table, preferences_table, to_toml
from tryage.core.preferences import Requirement


def test_what_is_written_is_read_as_the_same_settings(write):
    config = Config(
        include=[],
        models=[
            ModelTable(model="openai:gpt-5.6", efforts=["low", "high"], input_price=1.25),
            ModelTable(name="own", released=datetime.date(2026, 1, 2), metadata={"team": [1, "a"]}),
        ],
        preferences=preferences_table(Preferences({"size": 0.2}, answer_value=0.05, only=["own"])),
        router=RouterTable(default="own", prompt_flags=True),
        rules=[RuleTable(ban="own", key={"user id": ['ann "x"']})],
        policies=[
            BudgetTable(kind="Budget", usd_per_day=5),
            OwnPolicyTable(kind="tryage.policies:Hedge", seconds=2.0),
        ],
        traffic=TrafficTable(url="${DB}"),
    )
    text = to_toml(config)
    assert "[[policies]]" in text
    assert load_config(write(text), environment={"DB": "sqlite:///x.db"}).config == config


def test_nothing_that_is_left_out_is_written():
    assert to_toml(Config(router=RouterTable(strict=True))) == "[router]\nstrict = true\n"


@pytest.mark.parametrize(
    "preferences",
    [
        Preferences(),
        Preferences({"size": 1.0}, tolerance=0.02, quality="preferred"),
        Preferences(answer_value=1, latency_value=0.01, max_cost=0.1, min_context=1e5),
        Preferences(released_since=datetime.date(2025, 1, 1), licenses=["mit"], ban=["a", "b"]),
        Preferences(requirements=[Requirement("parameters", "<", 3e9, unknown_passes=True)]),
        Preferences(requirements=[Requirement("parameters", "<=", x) for x in (1e9, 2e9)]),
    ],
)
def test_preferences_come_back_from_their_table(preferences):
    again = make_preferences(preferences_table(preferences))
    assert set(again.requirements) == set(preferences.requirements)
    assert again.to_dict() | {"requirements": []} == preferences.to_dict() | {"requirements": []}


def test_an_expert_comes_back_from_its_table():
    expert = Expert(
        "a", input_price=1, released=datetime.date(2026, 1, 2), capabilities=["tools"], effort="low"
    )
    assert make_expert(model_table(expert, model="openai:a")) == expert
