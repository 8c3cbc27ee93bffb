"""`merge_missing_facts`: one library completed with the names and facts of another."""

from __future__ import annotations

import numpy as np

from tryage import Expert, Library
from tryage.core.library import merge_missing_facts


def test_an_alias_that_means_another_expert_is_left_out():
    library = Library([Expert("org/a"), Expert("org/b"), Expert("org/c")])
    other = Library([Expert("a", aliases=["org/a", "org/b", "x"]), Expert("c", aliases=["org/c"])])
    joined = merge_missing_facts(library, other)
    assert [joined.index(name) for name in ("a", "x", "org/b", "c")] == [0, 0, 1, 2]


def test_merging_missing_facts_leaves_the_other_facts_as_they_were():
    library = Library.from_columns(["a", "b"], latency=[np.nan, 2.0], license=["mit", None])
    joined = merge_missing_facts(library, Library([Expert("b", latency=1.0, downloads=5)]))
    assert joined.to_dicts() == [
        {"name": "a", "license": "mit"},
        {"name": "b", "latency": 2.0, "downloads": 5.0},
    ]
    assert merge_missing_facts(library, Library(["z"])) is library
