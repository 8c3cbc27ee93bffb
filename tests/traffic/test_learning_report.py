"""The report says per expert how much feedback came, and what it changed."""

from __future__ import annotations

import pytest

from tryage.core.library import Library
from tryage.traffic.learner import Learner
from tryage.traffic.learning_report import compare


@pytest.fixture
def learners(learned, rows):
    """A learner after two rows, and one after five more about one expert."""
    library, first = Library([*learned.experts, "new"]), [rows("adder", 1.0), rows("new", 1.0)]
    before, after = Learner(learned, library), Learner(learned, library)
    before.update(first)
    after.update([*first, *(rows("new", score) for score in (0.0, 0.0, 0.0, 0.0, 1.0))])
    return before, after


def test_only_what_came_in_between_counts(learners):
    (change,) = compare(*learners).changes
    assert (change.expert, change.count, change.measured) == ("new", 5, pytest.approx(0.8))


def test_the_prediction_follows_the_feedback_and_becomes_surer(learners):
    (change,) = compare(*learners).changes
    low, high = change.after_interval
    assert change.before < change.after < high
    assert high - low < change.before_interval[1] - change.before_interval[0]


def test_the_table_names_the_expert_with_its_figures(learners):
    lines = str(compare(*learners)).splitlines()
    assert lines[0].split("  ")[0] == "expert"
    assert lines[1].startswith("new     5         0.800")


def test_without_news_it_says_so(learners):
    assert str(compare(learners[1], learners[1])) == "Nothing was learned."
