"""Dataclasses become arrays and JSON and come back; a damaged file is refused with a reason."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass

import numpy as np
import pytest

from tryage.errors import InputError, PersistenceError
from tryage.perception.field_rules import Array, Either, Names, Number, Part, Parts, Sizes
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


RULES = {
    Leaf: {"table": Either(Array(None), Array(None, None)), "scale": Number()},
    Tree: {
        "leaves": Parts("leaves", Leaf),
        "names": Names("names"),
        "base": Either(Part(Leaf), or_none=True),
    },
}


def read(data, arrays, rule=None):
    return deserialize(data, "tree", arrays, rule or Part(Tree), RULES, Sizes({}))


def tensor_file(dtype):
    """Return a safetensors file of one number, of a type of one or two bytes."""
    size = 2 if dtype == "BF16" else 1
    entry = {"x": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def test_nested_dataclasses_come_back_through_json():
    tree = Tree((Leaf(np.eye(2)), Leaf(np.ones(3), 0.5)), ("a", "b"))
    arrays = {}
    data = json.loads(json.dumps(serialize(tree, "tree", arrays)))
    again = read(data, arrays)
    assert (again.names, again.base) == (("a", "b"), None)
    assert [leaf.scale for leaf in again.leaves] == [2.0, 0.5]
    np.testing.assert_array_equal(again.leaves[1].table, np.ones(3))
    assert set(arrays) == {"tree.leaves.0.table", "tree.leaves.1.table"}


def test_an_array_that_two_parts_share_is_stored_once():
    shared = Leaf(np.eye(2))
    arrays = {}
    data = serialize(Tree((shared, Leaf(shared.table)), (), shared), "tree", arrays)
    assert len(arrays) == 1
    again = read(data, arrays)
    assert again.leaves[0].table is again.base.table


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"array": "gone"}, "tree names 'gone', which is unknown or missing"),
        ({"array": ["gone"]}, r"tree names \['gone'\]"),
        ({"kind": "Popen", "args": "ls"}, "tree names 'Popen'"),
        ({"kind": "Leaf"}, "missing 1 required"),
        ({"kind": "Leaf", "table": {"array": "table"}, "color": "red"}, "tree names 'color'"),
        ({"kind": "Leaf", "table": {"array": "table"}, "scale": -1}, "a scale below zero"),
        ({"kind": "Leaf", "table": 1}, r"tree\.table is 1; expected \(any\) numbers"),
        ({"kind": "Leaf", "table": {"array": "table"}}, "tree is a Leaf; expected Tree"),
        ({"kind": ["Leaf"]}, "tree names"),
        ({"color": "red"}, "tree names None"),
        (None, "tree is None; expected Tree"),
        ([{"kind": "Leaf"}], "missing 1 required"),
    ],
)
def test_data_that_describes_no_known_and_complete_class_is_refused(data, message):
    with pytest.raises(InputError, match=message):
        read(data, {"table": np.eye(2)})


def test_data_of_too_many_levels_is_refused():
    data = []
    for _ in range(10_000):
        data = [data]
    with pytest.raises(InputError, match="tree: maximum recursion depth"):
        read({"kind": "Leaf", "table": data}, {})


def test_a_header_comes_back(tmp_path):
    write_header(tmp_path / "h.json", HEADER)
    assert read_header(tmp_path / "h.json", "router", 2, FIELDS) == HEADER


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"nonsense",
        b"\xff\xfe\xff",
        b"[" * 200_000,
        b'{"format": 1' + b"0" * 5_000 + b"}",
    ],
    ids=["missing", "empty", "no JSON", "no UTF-8", "too many levels", "too many digits"],
)
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


@pytest.mark.parametrize(
    "content", [None, b"", b"nonsense", tensor_file("BF16"), tensor_file("F8_E5M2")]
)
def test_arrays_that_cannot_be_read_are_a_persistence_error(tmp_path, content):
    if content is not None:
        (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(PersistenceError, match=r"no readable router: a\.safetensors is missing or"):
        read_arrays(tmp_path / "a.safetensors", "router")


def test_an_array_of_no_rows_and_too_many_columns_is_damage(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}'
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(PersistenceError, match="is missing or damaged"):
        read_arrays(path, "router")
