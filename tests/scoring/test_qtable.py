"""The Q-table: what it rejects, how it is cut and joined, and what others look up in it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import QTableError
from tryage.scoring.qtable import QTable, with_measurements

NAN = float("nan")


def small_table(**changes):
    values = {
        "prompts": ["2+2?", 'say "hi",\nplease', "2+2?", "null"],
        "experts": ["a", "b"],
        "losses": [[0.0, 1.0], [0.25, NAN], [1.0, 0.5], [NAN, 0.125]],
        "categories": ["math", "chat", None, "math"],
        "sources": ["s", "s", "t", "t"],
        "costs": [[0.01, NAN], [0.02, 0.5], [0.03, 0.25], [NAN, 0.75]],
    }
    return QTable(**{**values, **changes})


def test_prompts_with_the_same_text_have_the_same_group_number():
    assert small_table().groups.tolist() == [0, 1, 0, 2]


def test_matrices_are_read_only_and_the_array_of_the_caller_stays_writeable():
    mine = np.zeros((4, 2), np.float32)
    table = small_table(losses=mine)
    with pytest.raises(ValueError, match="read-only"):
        table.losses[0, 0] = 1
    mine[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": np.zeros((2, 2))}, r"shape \(2, 2\)"),
        ({"experts": ["a", "a"]}, "'a' is given twice"),
        ({"experts": "ab"}, "give a list"),
        ({"prompts": ["x", 3, "y", "z"]}, "int"),
        ({"losses": np.full((4, 2), np.inf)}, "NaN"),
        ({"costs": np.full((4, 2), -0.1)}, "costs"),
        ({"categories": ["math"]}, "1 categories for 4 prompts"),
    ],
)
def test_a_wrong_value_is_rejected_and_the_message_shows_it(changes, message):
    with pytest.raises(QTableError, match=message):
        small_table(**changes)


def test_take_follows_the_order_of_indices_and_a_mask():
    table = small_table()
    assert table.take([2, 0]).losses.tolist() == [[1.0, 0.5], [0.0, 1.0]]
    assert table.take([2, 0]).categories == (None, "math")
    masked = table.take(np.array([True, False, False, True]))
    assert masked.prompts == ("2+2?", "null")
    assert len(table.take([])) == 0


def test_select_reorders_experts_in_every_matrix_and_names_absent_ones():
    swapped = small_table().select(["b", "a"])
    assert swapped.losses[0].tolist() == [1.0, 0.0]
    assert swapped.costs[1].tolist() == [0.5, pytest.approx(0.02)]
    with pytest.raises(QTableError, match="'z'"):
        small_table().select(["z"])


def test_concat_joins_experts_by_name_and_leaves_gaps():
    other = QTable(("new",), ("c", "a"), [[0.1, 0.9]], categories=("law",))
    joined = QTable.concat([small_table(), other])
    assert joined.experts == ("a", "b", "c")
    np.testing.assert_allclose(joined.losses[-1], [0.9, NAN, 0.1], rtol=1e-6)
    assert joined.categories[-1] == "law"
    assert joined.sources[-1] is None
    assert np.isnan(joined.costs[-1]).all()
    assert joined.latencies is None


def test_losses_are_looked_up_by_text_and_by_alias():
    table = QTable(("p", "q"), ("a", "zzz"), np.array([[0.1, 0.2], [0.3, 0.4]]))
    found = table.losses_for(["q", "new", "q"], Library(["b", "A"]))
    np.testing.assert_allclose(found, [[NAN, 0.3], [NAN, NAN], [NAN, 0.3]], rtol=1e-6)


def test_of_prompts_with_the_same_text_the_first_row_is_looked_up():
    assert small_table().losses_for(["2+2?"], Library(["a"])).tolist() == [[0.0]]


def test_a_lookup_that_finds_nothing_returns_only_gaps():
    for prompts, library in (([], ["a"]), (["new"], ["a"]), (["2+2?"], ["z", "y"])):
        losses = small_table().losses_for(prompts, Library(library))
        assert losses.shape == (len(prompts), len(library))
        assert np.isnan(losses).all()


def test_the_library_gets_the_mean_of_each_measured_fact_and_keeps_the_others():
    known = Library([Expert("a", output_tokens=7), Expert("b", output_tokens=7)])
    counts = [[2.0, NAN], [4.0, NAN]]
    table = QTable(("p", "q"), ("b", "a"), np.ones((2, 2)), output_tokens=counts)
    assert list(with_measurements(known, table).column("output_tokens")) == [7, 3]


def test_the_library_gets_the_experts_that_only_the_table_has():
    table = QTable(("p",), ("b",), [[1.0]], latencies=[[0.5]], readabilities=[[-3.0]])
    library = with_measurements(Library([Expert("a", parameters=7e9)]), table)
    assert library.names == ("a", "b")
    assert library["a"].parameters == 7e9
    assert (library["b"].latency, library["b"].readability) == (0.5, -3.0)


def test_a_table_of_losses_alone_leaves_the_library_as_it_is():
    library = Library(["a"])
    assert with_measurements(library, QTable(("p",), ("a",), [[1.0]])) is library


@pytest.mark.parametrize("module", ["tryage.learning", "tryage.scoring.qtable", "tryage.cli.train"])
def test_importing_it_loads_neither_ray_nor_what_scores_nor_chat(module):
    code = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    roots = ("ray", "filelock", "pyarrow", "tryage.chat", "tryage.scoring.")
    loaded = {name for name in output.stdout.split() if name.startswith(roots)}
    tables = {f"tryage.scoring.{name}" for name in ("qtable", "qtable_io", "qtable_limits")}
    assert loaded <= tables


# Names that differ in case alone ---------------------------------------------------------------


def test_experts_whose_names_differ_in_case_are_named_with_what_to_do():
    table = small_table(experts=["Org/Model", "org/model"])
    with pytest.raises(QTableError, match=r"'Org/Model' and 'org/model'.*merge_experts"):
        table.check_expert_names()
    small_table().check_expert_names()


def test_merged_experts_have_the_mean_of_what_is_known_and_the_first_name():
    merged = small_table(experts=["Org/Model", "org/model"]).merge_experts()
    assert merged.experts == ("Org/Model",)
    assert merged.losses[:, 0].tolist() == [0.5, 0.25, 0.75, 0.125]
    assert merged.costs[:, 0] == pytest.approx([0.01, 0.26, 0.14, 0.75])
    assert merged.prompts == small_table().prompts


def test_merging_changes_nothing_where_all_names_differ():
    assert small_table().merge_experts().equals(small_table())
