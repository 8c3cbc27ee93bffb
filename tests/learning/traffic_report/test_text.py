"""The report's sentences: what a manager reads first, and that unknown is never zero."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tryage.learning.traffic_report import text
from tryage.learning.traffic_report.intervals import Estimate
from tryage.learning.traffic_report.summary import make_report


@pytest.fixture(scope="module")
def report(simulate_traffic):
    return make_report(*simulate_traffic(500))


def test_the_headline_says_the_period_the_bill_the_savings_the_rating_and_the_alarms(report):
    lines = text.headline(report)
    assert lines[0] == "2023-11-15 00:01 to 2023-11-15 23:58 UTC: 500 requests."
    assert lines[1] == f"The requests cost {text.dollars(report.spending.total)}."
    assert f"({report.spending.saved_share:.0%}) less than large alone would have cost" in lines[2]
    assert lines[3] == "The dearest model alone would have cost $10.00."
    assert f"rated {report.quality.value:.3f} of 1 on average" in lines[4]
    assert lines[5] == (
        "There was 1 alarm or event, the last one at 2023-11-15 12:20: rated .1 where .8 was "
        "expected."
    )


def test_spending_more_than_one_model_is_said_as_plainly(report):
    spending = replace(report.spending, saved=-2.0, best_single=8.0)
    line = text.headline(replace(report, spending=spending))[2]
    assert line == "That is $2.00 (25%) more than large alone would have cost, $8.00."


def test_what_is_unknown_is_said_to_be_unknown(report):
    spending = replace(report.spending, total=None, known=0, billed=0, saved=None)
    lines = text.headline(replace(report, spending=spending, quality=None))
    assert lines[1] == "What the requests cost is unknown: no model has a known price."
    assert lines[2] == "No answer has been rated, so nothing is known of the quality."


def test_expected_costs_are_said_to_be_expected(report):
    spending = replace(report.spending, billed=0)
    assert "were expected to cost" in text.headline(replace(report, spending=spending))[1]
    spending = replace(report.spending, known=400, billed=300)
    line = text.headline(replace(report, spending=spending))[1]
    assert line.startswith("400 of the requests cost, partly as expected, $")


def test_few_ratings_are_said_to_be_few(report):
    few = replace(report, quality=Estimate(0.5, 0.2, 0.8, 12))
    assert "12 rated answers). These are few." in text.headline(few)[4]


def test_a_switch_is_priced_and_chance_is_named(report):
    (one, *_) = report.comparisons
    sure = replace(one, name="b", cost=Estimate(-0.004, -0.006, -0.002, 90), reference_cost=0.01)
    lines = text.comparison_sentences(replace(report, comparisons=(sure,)))
    assert lines[0].endswith("A switch saves $4.00 in 1,000 answers (40%).")
    unsure = replace(sure, cost=Estimate(0.004, -0.002, 0.01, 90))
    lines = text.comparison_sentences(replace(report, comparisons=(unsure,)))
    assert lines[0].endswith(
        "A switch costs $4.00 more in 1,000 answers (40%), which may be chance."
    )


def test_an_undecided_comparison_says_how_many_threads_decide_it(report):
    one = replace(report.comparisons[0], name="b", quality=Estimate(0.02, -0.04, 0.08, 100))
    assert one.verdict == (
        "Not decided: b may be up to 0.040 worse or 0.080 better. If the difference stays, about "
        "900 rated threads or users decide it."
    )


def test_the_notes_name_losses_of_the_log_and_signs_of_bad_answers(report):
    notes = " ".join(text.notes(replace(report, lost={"outcomes": 4})))
    assert "Lost by the log: 4 outcomes." in notes
    assert f"Signs of bad answers: {report.signals['retry']} retry" in notes
    assert "The log reports no losses." in text.notes(report)


@pytest.mark.parametrize(
    ("usd", "written"),
    [
        (None, "-"),
        (0.0, "$0.00"),
        (12.3, "$12.30"),
        (-12.3, "-$12.30"),
        (0.00123456, "$0.00123"),
        (1234567.0, "$1,234,567.00"),
    ],
)
def test_dollars_have_three_digits_that_mean_something(usd, written):
    assert text.dollars(usd) == written


def test_prompts_are_shown_only_if_the_log_keeps_them(report):
    assert "prompt" not in text.surprise_rows(report)[0]
    kept = replace(report.surprises[0], prompt="Why\nis the sky blue? " + "x" * 200)
    header, row = text.surprise_rows(replace(report, surprises=(kept,)))
    shown = row[header.index("prompt")]
    assert shown.startswith("Why is the sky blue? xxx")
    assert len(shown) == 90


def test_an_alarm_without_words_is_named_by_its_kind_and_model(report):
    alarm = replace(report.alarms[0], text="")
    assert "12:20: drift medium." in text.headline(replace(report, alarms=(alarm,)))[5]
