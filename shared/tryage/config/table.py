"""The base of all tables of `tryage.toml`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Refuses unknown keys, and converts no value."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # what pydantic shows of a wrong value may be a key
        use_attribute_docstrings=True,  # they describe the fields in the JSON schema
    )

    def given(self) -> dict[str, Any]:
        """Return what the file says, without what it leaves out."""
        return {name: getattr(self, name) for name in self.model_fields_set}
