"""Totals of costs: unknown ones are in no sum, and threads and forks lose none."""

from __future__ import annotations

import copy
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage.chat.savings import AnswerCosts, Savings, SavingsCounter


@pytest.fixture
def counter():
    return SavingsCounter()


def test_answers_add_up(counter):
    counter.add(AnswerCosts(0.01, 0.03, 0.10))
    counter.add(AnswerCosts(0.02, 0.02, 0.10))
    savings = counter.read("gpt-5.6")
    assert (savings.answers, savings.unknown) == (2, 0)
    assert savings.billed == pytest.approx(0.03)
    assert savings.best_single == pytest.approx(0.05)
    assert savings.dearest == pytest.approx(0.20)
    assert savings.saved == pytest.approx(0.02)
    assert savings.saved_share == pytest.approx(0.4)


def test_an_unknown_bill_is_counted_and_is_in_no_sum(counter):
    counter.add(AnswerCosts(None, 0.03, 0.10))
    assert counter.read(None) == Savings(answers=1, unknown=1)
    counter.add(AnswerCosts(0.01, 0.03, 0.10))
    assert counter.read(None).best_single == pytest.approx(0.03)


def test_savings_compare_only_answers_of_which_both_costs_are_known(counter):
    counter.add(AnswerCosts(5.0))
    counter.add(AnswerCosts(1.0, 3.0))
    savings = counter.read(None)
    assert (savings.billed, savings.saved, savings.dearest) == (6.0, 2.0, None)


def test_a_failed_call_is_billed_and_is_no_answer(counter):
    counter.add(AnswerCosts(0.5, 0.0, 0.0), is_answer=False)
    savings = counter.read(None)
    assert (savings.answers, savings.billed, savings.saved) == (0, 0.5, -0.5)


def test_a_reset_starts_from_zero(counter):
    counter.add(AnswerCosts(1.0, 2.0, 3.0))
    assert counter.read(None, reset=True).answers == 1
    assert counter.read(None) == Savings()


def test_the_line_says_the_bill_and_how_much_less_it_is(counter):
    for _ in range(12):
        counter.add(AnswerCosts(0.00034, 0.00085, 0.0025))
    counter.add(AnswerCosts(None))
    assert str(counter.read("gpt-5.6")) == (
        "13 answers: $0.00408 billed; $0.00612 (60%) saved, because gpt-5.6 alone costs $0.0102; "
        "the dearest model costs $0.0300; the cost of 1 answer is unknown"
    )


@pytest.mark.parametrize(
    ("costs", "line"),
    [
        ([], "0 answers: an unknown amount billed"),
        ([AnswerCosts(12.3)], "1 answer: $12.30 billed"),
        ([AnswerCosts(0.0, 0.0)], "1 answer: $0.00 billed; $0.00 saved, because the best single "
         "model alone costs $0.00"),
        ([AnswerCosts(3.0, 2.0)], "1 answer: $3.00 billed; $1.00 (50%) more, because the best "
         "single model alone costs $2.00"),
        ([AnswerCosts(1e-12)], "1 answer: $0.0000000000 billed"),
    ],
)  # fmt: skip
def test_the_line_fits_what_is_known(counter, costs, line):
    for one in costs:
        counter.add(one)
    assert str(counter.read(None)) == line


def test_totals_are_safe_as_json(counter):
    counter.add(AnswerCosts(1.0, 2.0, 3.0))
    values = counter.read("a").to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["saved_share"] == 0.5


def test_threads_lose_no_answer(counter):
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2_000):
            pool.submit(counter.add, AnswerCosts(1.0, 2.0, 4.0))
    savings = counter.read(None)
    assert (savings.answers, savings.billed, savings.saved) == (2_000, 2_000.0, 2_000.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
def test_a_forked_process_goes_on_counting_for_itself(counter):
    counter.add(AnswerCosts(1.0))
    child = os.fork()
    if not child:
        counter.add(AnswerCosts(1.0))
        os._exit(counter.read(None).answers)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert counter.read(None).answers == 1


def test_a_copy_and_a_pickle_start_from_zero(counter):
    counter.add(AnswerCosts(1.0))
    pickled = pickle.loads(pickle.dumps(counter))  # noqa: S301 - our own pickle
    for other in (copy.deepcopy(counter), pickled):
        assert other.read(None) == Savings()
