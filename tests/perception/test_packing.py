"""Nested dataclasses become arrays and JSON and come back; nothing else is ever built."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from tryage.errors import PersistenceError
from tryage.perception.serialization import deserialize, serialize


@dataclass(frozen=True)
class Leaf:
    table: np.ndarray
    scale: float = 2.0


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    names: tuple[str, ...]
    base: Leaf | None = None


def test_what_is_packed_comes_back_through_json():
    tree = Tree((Leaf(np.eye(2)), Leaf(np.ones(3), 0.5)), ("a", "b"))
    arrays = {}
    packed = json.loads(json.dumps(serialize(tree, "tree", arrays)))
    again = deserialize(packed, arrays, (Tree, Leaf))
    assert (again.names, again.base) == (("a", "b"), None)
    assert [leaf.scale for leaf in again.leaves] == [2.0, 0.5]
    np.testing.assert_array_equal(again.leaves[1].table, np.ones(3))
    assert set(arrays) == {"tree.leaves.0.table", "tree.leaves.1.table"}


def test_an_array_that_two_parts_share_is_stored_once():
    shared = Leaf(np.eye(2))
    arrays = {}
    packed = serialize(Tree((shared, Leaf(shared.table)), (), shared), "tree", arrays)
    assert len(arrays) == 1
    again = deserialize(packed, arrays, (Tree, Leaf))
    assert again.leaves[0].table is again.base.table


@pytest.mark.parametrize(
    "packed",
    [
        {"array": "gone"},
        {"kind": "Popen", "args": "ls"},
        {"kind": "Leaf"},
        {"kind": "Leaf", "table": 1, "colour": "red"},
        {"kind": ["Leaf"]},
        {"colour": "red"},
        None,
    ],
)
def test_what_is_not_of_a_known_kind_and_whole_is_refused(packed):
    with pytest.raises(PersistenceError, match="damaged"):
        deserialize(packed, {}, (Tree, Leaf))
