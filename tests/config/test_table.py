"""The base of all tables."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tryage.config.schema import RouterTable


def test_a_table_knows_what_the_file_says():
    assert RouterTable(strict=False).given() == {"strict": False}


@pytest.mark.parametrize("values", [{"strict": "yes"}, {"strict": 1}, {"other": 1}])
def test_a_table_converts_nothing_and_refuses_unknown_keys(values):
    with pytest.raises(ValidationError):
        RouterTable.model_validate(values)
