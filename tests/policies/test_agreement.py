"""Which answers say the same."""

from __future__ import annotations

import pytest

from tryage.policies.agreement import same_answer


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Paris", "paris."),
        ("I think so. The answer is Paris.", "**Paris**"),
        ("The answer is **B**", "B) Paris"),
        ("It costs $1,000", "1000"),
        ("The result is 0.50", "1/2"),
    ],
)
def test_answers_with_the_same_result_agree(first, second) -> None:
    assert same_answer(first, second)
    assert same_answer(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Paris", "Lyon"),
        ("B", "C"),
        ("41", "42"),
        ("", ""),
        ("A long text about 3 things that ends here " * 3, "Another long text with 3 in it " * 4),
    ],
)
def test_answers_with_different_results_do_not_agree(first, second) -> None:
    assert not same_answer(first, second)
    assert not same_answer(second, first)
