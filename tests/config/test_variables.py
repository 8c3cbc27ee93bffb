"""Variables of the environment, and what looks like a credential."""

from __future__ import annotations

import pytest

from tryage.config.variables import describe_variable, expand_variables, find_secrets, shown
from tryage.errors import InputError


def test_variables_are_filled_in_wherever_they_stand():
    text = expand_variables("postgresql://${USER}:${PASS}@db", {"USER": "ann", "PASS": "x"})
    assert text == "postgresql://ann:x@db"


@pytest.mark.parametrize("text", ["${}", "${a b}", "${1}"])
def test_what_is_no_name_of_a_variable_is_refused(text):
    with pytest.raises(InputError, match="no variable"):
        expand_variables(text, {})


@pytest.mark.parametrize("text", ["${kwozqmtr}", "${K wozqmtr}", "${Kwozqmtr1}", "${4kwozqmtr}"])
def test_a_key_where_the_name_of_a_variable_is_meant_is_not_repeated(text):
    with pytest.raises(InputError) as info:
        expand_variables(text, {})
    assert "wozqmtr" not in str(info.value)


def test_the_usual_name_of_a_variable_is_told():
    with pytest.raises(InputError, match="variable HOUSE_KEY_2 is not set"):
        expand_variables("${HOUSE_KEY_2}", {})
    assert describe_variable("HF_TOKEN") == "the variable HF_TOKEN"
    assert describe_variable("kwozqmtr") == "the variable named there"


@pytest.mark.parametrize(
    "tables",
    [
        {"rules": [{"key": {"user_id": ["ann"]}}]},
        {"models": [{"api_key_env": "OPENAI_API_KEY"}]},
        {"models": [{"settings": {"max_tokens": 100}}]},
        {"traffic": {"url": "postgresql://${USER}:${PASSWORD}@db/tryage"}},
        {"preferences": {"weights": {"cost": 1}}},
    ],
)
def test_what_only_sounds_like_a_credential_is_none(tables):
    assert list(find_secrets(tables)) == []


def test_a_long_value_is_cut_off_and_a_credential_is_masked():
    assert len(shown("a" * 1000)) == 60
    assert "abcdef" not in shown("Bearer abcdef1234567890abcdef")
