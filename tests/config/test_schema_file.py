"""The JSON schema for editors."""

from __future__ import annotations

import json

from tryage.config.schema_file import SCHEMA_FILE, json_schema


def test_the_copy_in_the_package_is_current():
    assert SCHEMA_FILE.read_text("utf-8") == json_schema(), (
        "run: tryage config schema --output shared/tryage/config/tryage.schema.json"
    )


def test_the_schema_offers_no_null_which_toml_lacks():
    assert '"null"' not in json_schema()


def test_the_schema_accepts_a_full_file_and_refuses_an_unknown_key():
    import pytest

    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft7Validator(json.loads(json_schema()))
    valid = {
        "models": [{"model": "openai:a", "efforts": ["low"], "input_price": 1}],
        "policies": [{"kind": "Budget", "usd_per_day": 5}, {"kind": "a:b", "other": 1}],
        "preferences": {"preset": "thrifty"},
    }
    assert list(validator.iter_errors(valid)) == []
    assert list(validator.iter_errors({**valid, "polices": []}))
    assert list(validator.iter_errors({"policies": [{"kind": "Budget", "usd": 5}]}))
