"""Dataclasses become arrays and JSON and come back; a damaged file is refused with a reason."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass

import numpy as np
import pytest

from tryage.errors import InputError, PersistenceError
from tryage.perception.serialization import (
    deserialize,
    read_arrays,
    read_header,
    serialize,
    write_arrays,
    write_header,
)

FIELDS = {"format": int, "names": list, "default": (str, type(None))}
HEADER = {"format": 2, "names": ["a"], "default": None}


@dataclass(frozen=True)
class Leaf:
    table: np.ndarray
    scale: float = 2.0

    def __post_init__(self):
        if self.scale < 0:
            raise InputError("a scale below zero")


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    names: tuple[str, ...]
    base: Leaf | None = None


def test_nested_dataclasses_come_back_through_json():
    tree = Tree((Leaf(np.eye(2)), Leaf(np.ones(3), 0.5)), ("a", "b"))
    arrays = {}
    data = json.loads(json.dumps(serialize(tree, "tree", arrays)))
    again = deserialize(data, arrays, (Tree, Leaf))
    assert (again.names, again.base) == (("a", "b"), None)
    assert [leaf.scale for leaf in again.leaves] == [2.0, 0.5]
    np.testing.assert_array_equal(again.leaves[1].table, np.ones(3))
    assert set(arrays) == {"tree.leaves.0.table", "tree.leaves.1.table"}


def test_an_array_that_two_parts_share_is_stored_once():
    shared = Leaf(np.eye(2))
    arrays = {}
    data = serialize(Tree((shared, Leaf(shared.table)), (), shared), "tree", arrays)
    assert len(arrays) == 1
    again = deserialize(data, arrays, (Tree, Leaf))
    assert again.leaves[0].table is again.base.table


@pytest.mark.parametrize(
    "data",
    [
        {"array": "gone"},
        {"kind": "Popen", "args": "ls"},
        {"kind": "Leaf"},
        {"kind": "Leaf", "table": 1, "color": "red"},
        {"kind": "Leaf", "table": 1, "scale": -1},
        {"kind": ["Leaf"]},
        {"color": "red"},
        None,
    ],
)
def test_data_that_describes_no_known_and_complete_class_is_refused(data):
    with pytest.raises(PersistenceError, match="damaged"):
        deserialize(data, {}, (Tree, Leaf))


def test_a_header_comes_back(tmp_path):
    write_header(tmp_path / "h.json", HEADER)
    assert read_header(tmp_path / "h.json", "router", 2, FIELDS) == HEADER


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xff\xfe\xff"])
def test_a_header_that_cannot_be_read_says_what_the_folder_should_hold(tmp_path, content):
    if content is not None:
        (tmp_path / "h.json").write_bytes(content)
    with pytest.raises(PersistenceError, match="holds no readable router"):
        read_header(tmp_path / "h.json", "router", 2, FIELDS)


def test_a_newer_format_says_to_upgrade_whatever_else_it_holds(tmp_path):
    write_header(tmp_path / "h.json", {"format": 3})
    with pytest.raises(PersistenceError, match="newer format than 2: upgrade with pip"):
        read_header(tmp_path / "h.json", "router", 2, FIELDS)


@pytest.mark.parametrize(
    "header", [{"names": []}, HEADER | {"names": None}, HEADER | {"format": "2"}]
)
def test_a_header_without_a_field_or_with_another_type_is_damaged(tmp_path, header):
    write_header(tmp_path / "h.json", header)
    with pytest.raises(PersistenceError, match=r"damaged: it has no '\w+'; save the router again"):
        read_header(tmp_path / "h.json", "router", 2, FIELDS)


def test_arrays_come_back_and_every_user_may_read_the_file(tmp_path):
    transposed = np.arange(6.0).reshape(2, 3).T
    write_arrays(tmp_path / "a.safetensors", {"x": transposed})
    np.testing.assert_array_equal(
        read_arrays(tmp_path / "a.safetensors", "router")["x"], transposed
    )
    assert (tmp_path / "a.safetensors").stat().st_mode & stat.S_IROTH


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_arrays_that_cannot_be_read_are_a_persistence_error(tmp_path, content):
    if content is not None:
        (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(PersistenceError, match=r"no readable router: a\.safetensors is missing or"):
        read_arrays(tmp_path / "a.safetensors", "router")
