"""Code of the user by its name."""

from __future__ import annotations

import sys

import pytest

from tryage.config.code import import_object
from tryage.errors import InputError


def test_a_module_beside_the_file_is_found_and_the_path_is_as_before(write, tmp_path):
    write("THING = 3", "tryage_own_code.py")
    before = list(sys.path)
    assert import_object("tryage_own_code:THING", tmp_path) == 3
    assert sys.path == before


@pytest.mark.parametrize("location", ["json", "json:", ":dumps", "json:nothing", "no.such:thing"])
def test_what_is_not_there_is_an_error(location, tmp_path):
    with pytest.raises(InputError):
        import_object(location, tmp_path)
