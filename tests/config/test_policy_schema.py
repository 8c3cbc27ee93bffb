"""The tables of policies have the words of their classes."""

from __future__ import annotations

import inspect

import pytest

from tryage import policies
from tryage.config import schema
from tryage.config.policy_schema import KINDS, POLICY_TABLES
from tryage.core.exploration import Exploration
from tryage.core.preferences import Preferences
from tryage.policies.rule_file import WORDS
from tryage.traffic.traffic import Traffic

# Arguments that no file can hold: functions and measurements.
ONLY_IN_CODE = {"clock", "priority", "similar", "calibration", "likelihoods"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Rules"])
def test_a_policy_has_the_words_and_the_defaults_of_its_class(kind):
    parameters = inspect.signature(getattr(policies, kind)).parameters
    fields = POLICY_TABLES[kind].model_fields
    assert set(fields) - {"kind", "table"} == set(parameters) - ONLY_IN_CODE
    for name, field in fields.items():
        if name in parameters and field.default is not None and not field.is_required():
            assert field.default == parameters[name].default, name


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (schema.RuleTable, set(WORDS)),
        (schema.PreferencesTable, {*inspect.signature(Preferences).parameters, "preset"}),
        (schema.ExplorationTable, set(Exploration.__dataclass_fields__)),
        (schema.TrafficTable, set(inspect.signature(Traffic).parameters)),
    ],
)
def test_a_table_has_the_words_of_its_class(table, words):
    assert set(table.model_fields) == words
