"""Merging: a library completed with the names and numbers of another one."""

from __future__ import annotations

import numpy as np

from tryage import Expert, Library
from tryage.core.library import merge_missing_facts


def test_names_of_the_other_library_become_aliases_unless_they_mean_another_expert():
    library = Library([Expert("org/a"), Expert("org/b"), Expert("org/c")])
    other = Library([Expert("a", aliases=["org/a", "org/b", "x"]), Expert("c", aliases=["org/c"])])
    merged = merge_missing_facts(library, other)
    assert [merged.index(name) for name in ("a", "x", "org/b", "c")] == [0, 0, 1, 2]


def test_missing_numbers_are_filled_in_and_everything_else_stays():
    library = Library.from_columns(["a", "b"], latency=[np.nan, 2.0], license=["mit", None])
    merged = merge_missing_facts(library, Library([Expert("b", latency=1.0, downloads=5)]))
    assert merged.to_dicts() == [
        {"name": "a", "license": "mit"},
        {"name": "b", "latency": 2.0, "downloads": 5.0},
    ]
    assert merge_missing_facts(library, Library(["z"])) is library
