"""Library: columns with unknown values, names and aliases that find one expert, and subsets."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.printable import has_control_characters
from tryage.core.validation import NUMBER_RANGES
from tryage.errors import InputError, LibraryError

DATE = datetime.date(2025, 1, 31)
FULL = Expert(
    "Org/Big-70B",
    aliases=("big", "provider/big"),
    parameters=70e9,
    active_parameters=12e9,
    released=DATE,
    license="apache-2.0",
    security=1.0,
    input_price=0.5,
    output_price=1.5,
    latency=2.0,
    cached_input_price=0.3,
    output_tokens=300.0,
    readability=-12.0,
    downloads=1e6,
    context_length=131072,
    capabilities=frozenset({"tools", "vision"}),
    metadata={"family": "big"},
)

counts = st.none() | st.floats(0, 1e13)
experts = st.builds(
    Expert,
    name=st.text(min_size=1).filter(lambda s: s.strip() and not has_control_characters(s)),
    parameters=counts,
    released=st.none() | st.dates(),
    license=st.none() | st.sampled_from(["mit", "apache-2.0"]),
    input_price=counts,
    context_length=st.none() | st.integers(0, 2**40),
    capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "vision"])),
)
libraries = st.lists(experts, min_size=1, unique_by=lambda e: e.name.casefold()).map(Library)


def test_a_missing_value_is_unknown_not_zero() -> None:
    library = Library(["bare"])
    assert all(np.isnan(library.column(name)).all() for name in NUMBER_RANGES)
    assert library.licenses[0] is None
    assert np.isnan(library.capability("tools")).all()


def test_a_price_of_zero_is_known_and_free() -> None:
    assert Library([Expert("local", input_price=0)]).column("input_price")[0] == 0


@given(libraries)
def test_a_library_returns_its_experts(library: Library) -> None:
    rows = list(library)
    assert Library.from_dicts(library.to_dicts()).to_dicts() == library.to_dicts()
    assert [library[name] for name in library.names] == rows
    assert list(library.subset(library.names)) == rows


def test_columns_and_objects_make_the_same_library() -> None:
    rows = [FULL, Expert("bare")]
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in Expert.__dataclass_fields__
    }
    assert list(Library.from_columns(columns.pop("name"), **columns)) == rows


def test_a_hundred_thousand_experts_are_columns_without_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Expert, "__post_init__", lambda _: pytest.fail("an Expert was built"))
    n = 100_000
    library = Library.from_columns(
        [f"org/m{i}" for i in range(n)],
        parameters=np.arange(n, dtype=np.float32),
        license=["mit", None] * (n // 2),
    )
    assert library.subset(library.column("parameters") < 10).names[-1] == "org/m9"
    assert library.licensed({"mit"}).sum() == n // 2
    assert library.index("ORG/M99999") == n - 1


@pytest.mark.parametrize("dates", [[DATE, None], np.array(["2025-01-31", "NaT"], "datetime64[D]")])
def test_release_dates_become_ordinal_days(dates: Any) -> None:
    library = Library.from_columns(["a", "b"], released=dates)
    assert library.column("released").tolist()[0] == DATE.toordinal()
    assert library[0].released == DATE
    assert library[1].released is None


def test_names_and_aliases_find_an_expert_in_any_case() -> None:
    library = Library([Expert("bare"), FULL])
    for name in ("Org/Big-70B", "org/big-70b", "BIG", "provider/big"):
        assert library.index(name) == 1
        assert name in library
        assert library[name] == FULL
    assert 3 not in library
    assert library[-1] == FULL


def test_an_unknown_name_is_refused_with_similar_names() -> None:
    with pytest.raises(LibraryError, match=r"Did you mean Org/Big-70B\?"):
        Library([FULL]).index("Org/Big-7B")
    with pytest.raises(IndexError):
        Library([FULL])[1]


@pytest.mark.parametrize(
    "rows",
    [
        ["a", "a"],
        ["GPT-4", "gpt-4"],
        [Expert("a", aliases=["B"]), "b"],
        ["b", Expert("a", aliases=["b"])],
        [Expert("a", aliases=["x"]), Expert("b", aliases=["X"])],
    ],
)
def test_a_name_that_means_two_experts_is_refused(rows: list[Expert | str]) -> None:
    with pytest.raises(LibraryError):
        Library(rows)


def test_an_alias_equal_to_its_own_name_is_harmless() -> None:
    assert Library([Expert("a", aliases=["A"])]).index("A") == 0


@pytest.mark.parametrize("rows", [[], ()])
def test_an_empty_library_is_refused(rows: Any) -> None:
    with pytest.raises(LibraryError, match="empty"):
        Library(rows)
    with pytest.raises(LibraryError, match="empty"):
        Library(["a"]).subset(rows)


@pytest.mark.parametrize("rows", ["gpt-4", b"x", {"a": 1}, None, 3, [3], [None], [["a"]], [""]])
def test_a_value_that_is_not_a_list_of_experts_is_refused(rows: Any) -> None:
    with pytest.raises(InputError):
        Library(rows)


@pytest.mark.parametrize("field", [*NUMBER_RANGES])
@pytest.mark.parametrize("value", [float("inf"), 10**400, "7B", True, False, [1]])
def test_a_column_with_a_value_that_is_not_a_finite_number_is_refused(
    field: str, value: Any
) -> None:
    with pytest.raises(InputError, match=field):
        Library.from_columns(["a"], **{field: [value]})


@pytest.mark.parametrize("field", [*NUMBER_RANGES])
def test_nan_in_a_column_is_unknown(field: str) -> None:
    assert getattr(Library.from_columns(["a"], **{field: [np.nan]})[0], field) is None


@pytest.mark.parametrize("field", sorted({*NUMBER_RANGES} - {"readability", "released"}))
def test_a_negative_number_is_refused_where_it_has_no_meaning(field: str) -> None:
    with pytest.raises(InputError, match=field):
        Library.from_columns(["a"], **{field: np.array([-1])})


@pytest.mark.parametrize(
    "columns",
    [
        {"parameter": [1]},
        {"name": ["b"]},
        {"parameters": [1, 2]},
        {"parameters": 7e9},
        {"parameters": None},
        {"license": "m"},
        {"parameters": np.ones((1, 1))},
        {"capabilities": ["tools"]},
        {"parameters": np.array([np.inf])},
    ],
)
def test_a_malformed_column_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Library.from_columns(["a"], **columns)


@pytest.mark.parametrize("row", [{}, {"name": "a", "parmeters": 1}, {"name": "a", "released": "x"}])
def test_a_malformed_row_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Library.from_dicts([row])


def test_columns_are_read_only_copies_of_their_source() -> None:
    source = np.array([1.0, 2.0])
    library = Library.from_columns(["a", "b"], parameters=source)
    source[0] = 9
    for column in (library.column("parameters"), library.column("latency"), library.licenses):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 5
    assert library[0].parameters == 1


def test_a_column_is_computed_once() -> None:
    library = Library([FULL])
    assert library.column("latency") is library.column("latency")
    assert library.column("security") is library.column("security")


def test_a_field_without_numbers_is_not_a_column() -> None:
    with pytest.raises(InputError, match="not a numeric column"):
        Library([FULL]).column("license")


def test_a_missing_capability_differs_from_an_unknown_one() -> None:
    library = Library([FULL, Expert("none", capabilities=[]), Expert("bare")])
    assert library.capability("tools").tolist()[:2] == [1, 0]
    assert np.isnan(library.capability("tools")[2])


@pytest.mark.parametrize(
    "keep", [["big", "c"], np.array([False, True, True]), np.array([1, 2])], ids=str
)
def test_a_subset_selects_the_same_rows_of_every_column(keep: Any) -> None:
    part = Library(["a", FULL, Expert("c", parameters=1)]).subset(keep)
    assert part.names == ("Org/Big-70B", "c")
    assert part.column("parameters").tolist() == [70e9, 1]
    assert part["big"] == FULL
    assert "a" not in part


@pytest.mark.parametrize("keep", ["a", np.array([True]), [True, False], 3])
def test_a_malformed_subset_is_refused(keep: Any) -> None:
    with pytest.raises(InputError):
        Library(["a", "b"]).subset(keep)


def test_a_subset_by_unknown_name_is_refused() -> None:
    with pytest.raises(LibraryError, match="No expert is called 'z'"):
        Library(["a", "b"]).subset(["z"])


def test_an_unknown_name_is_refused_with_the_names_if_they_are_few() -> None:
    with pytest.raises(LibraryError) as caught:
        Library(["gpt-4o", "claude"]).index("gpt-5")
    assert str(caught.value) == (
        "No expert is called 'gpt-5'; expected one of ['gpt-4o', 'claude']. Did you mean gpt-4o?"
    )
    with pytest.raises(LibraryError, match=r"No expert is called 'x' among 11\.$"):
        Library([f"model {i}" for i in range(11)]).index("x")


def test_words_are_standardized_in_every_input_form() -> None:
    column = [["Tools", "vision"], None, frozenset({"tools", "vision"}), {"VISION", "tools"}]
    library = Library.from_columns(
        list("abcd"), capabilities=column, license=["MIT", None, "mit ", "x"]
    )
    assert library.licensed(["mit"]).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(library.capability(" Vision"), [1, np.nan, 1, 1])


def test_the_known_licenses_are_those_of_any_expert():
    library = Library([Expert("a", license="MIT"), Expert("b", license="mit"), Expert("c")])
    assert library.known_licenses == {"mit"}
    assert Library(["a"]).known_licenses == frozenset()


@pytest.mark.parametrize("rows", [None, 1, "small", {"name": "small"}, [1], [None], [{}]])
def test_rows_that_are_not_a_list_of_dicts_are_refused(rows):
    with pytest.raises(InputError):
        Library.from_dicts(rows)


def test_the_models_that_experts_are_about_as_good_as_are_found_by_position():
    library = Library(["a", Expert("b", about_as_good_as="gpt-5"), "c"])
    assert library.references == {1: "gpt-5"}
    assert library.subset(["c", "b"]).references == {1: "gpt-5"}
    assert Library(["a"]).references == {}
