"""A library is copied by reference and pickled by its columns; equal hashes are no clash."""

from __future__ import annotations

import copy
import pickle

import pytest

from tryage.core import library as library_module
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import LibraryError


@pytest.fixture
def library():
    return Library(
        [
            Expert("Org/A", aliases=["a"], license="mit", capabilities=["tools"], parameters=7e9),
            Expert("Org/B", license="mit", capabilities=["tools"]),
            Expert("Straße", license="apache-2.0", metadata={"task": "chat"}),
        ]
    )


@pytest.fixture
def equal_hashes(monkeypatch):
    """Give all names the same hash."""
    monkeypatch.setattr(library_module, "hash", lambda _: 7, raising=False)


def test_a_copy_is_the_library_itself(library):
    assert copy.copy(library) is library
    assert copy.deepcopy({"in": library})["in"] is library


def test_an_unpickled_library_is_complete_and_read_only(library):
    back = pickle.loads(pickle.dumps(library))  # noqa: S301 - our own bytes
    assert back.to_dicts() == library.to_dicts()
    assert [back.index(name) for name in ("ORG/a", "A", "STRASSE")] == [0, 0, 2]
    with pytest.raises(ValueError, match="read-only"):
        back.column("parameters")[0] = 1.0


def test_a_pickle_has_no_hashes_because_they_differ_between_processes(library):
    assert b"NameIndex" not in pickle.dumps(library)


@pytest.mark.usefixtures("equal_hashes")
def test_names_with_equal_hashes_find_their_own_experts():
    library = Library([Expert("a", aliases=["x"]), Expert("b"), Expert("c", aliases=["y"])])
    assert [library.index(name) for name in ("A", "b", "c", "X", "y")] == [0, 1, 2, 0, 2]
    assert "z" not in library


@pytest.mark.usefixtures("equal_hashes")
@pytest.mark.parametrize("second", [Expert("A"), Expert("b", aliases=["a"])])
def test_a_duplicate_among_names_with_equal_hashes_is_refused(second):
    with pytest.raises(LibraryError, match=r"[aA]'"):
        Library([Expert("x"), Expert("a"), second])
