"""The JSON schema of `tryage.toml`, with which editors complete and check it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tryage.config.schema import Config

SCHEMA_FILE = Path(__file__).with_name("tryage.schema.json")
"""The copy in the package, which `tryage config schema` prints."""


def json_schema() -> str:
    """Return the schema as JSON.

    Values that TOML cannot say, such as null, are left out, so that no editor offers them.
    """
    schema = _without_null(Config.model_json_schema())
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"  # what taplo reads
    schema["title"] = "tryage.toml"
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _without_null(value: Any) -> Any:  # noqa: ANN401 - a part of a schema
    """Return a part of a schema without null, and without titles, which repeat the keys."""
    if isinstance(value, list):
        return [_without_null(one) for one in value if one != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    kept = {
        name: _without_null(one)
        for name, one in value.items()
        if not (name == "default" and one is None)
        and not (name == "title" and isinstance(one, str))
    }
    options = kept.get("anyOf", [])
    if len(options) == 1:  # null was the other one
        del kept["anyOf"]
        kept |= options[0]
    return kept
