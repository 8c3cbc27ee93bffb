import copy
import pickle

import numpy as np
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
def colliding(monkeypatch):
    """All names have one hash."""
    monkeypatch.setattr(library_module, "hash", lambda _: 7, raising=False)


def test_a_copy_is_the_library_itself_because_it_never_changes(library):
    assert copy.copy(library) is library
    assert copy.deepcopy({"in": library})["in"] is library


def test_a_pickled_library_comes_back_whole_and_frozen(library):
    back = pickle.loads(pickle.dumps(library))  # noqa: S301 - our own
    assert back.to_dicts() == library.to_dicts()
    assert [back.index(name) for name in ("ORG/a", "A", "STRASSE")] == [0, 0, 2]
    with pytest.raises(ValueError, match="read-only"):
        back.column("parameters")[0] = 1.0


def test_a_pickle_holds_no_hashes_which_another_process_would_not_have(library):
    assert b"NameIndex" not in pickle.dumps(library)


@pytest.mark.usefixtures("colliding")
def test_names_of_one_hash_are_told_apart():
    library = Library([Expert("a", aliases=["x"]), Expert("b"), Expert("c", aliases=["y"])])
    assert [library.index(name) for name in ("A", "b", "c", "X", "y")] == [0, 1, 2, 0, 2]
    assert "z" not in library


@pytest.mark.usefixtures("colliding")
@pytest.mark.parametrize("second", [Expert("A"), Expert("b", aliases=["a"])])
def test_a_clash_among_names_of_one_hash_is_found(second):
    with pytest.raises(LibraryError, match=r"[aA]'"):
        Library([Expert("x"), Expert("a"), second])


def test_words_are_brought_to_one_form_however_they_are_given():
    column = [["Tools", "vision"], None, frozenset({"tools", "vision"}), {"VISION", "tools"}]
    library = Library.from_columns(
        list("abcd"), capabilities=column, license=["MIT", None, "mit ", "x"]
    )
    assert library.licensed(["mit"]).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(library.capability(" Vision"), [1, np.nan, 1, 1])
