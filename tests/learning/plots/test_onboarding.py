"""The replay of a test ends where the test's page does; running means are those worked by hand."""

from __future__ import annotations

import pytest

from tryage import Router
from tryage.errors import InputError
from tryage.learning.plots.onboarding import (
    onboarding_of_journal,
    onboarding_of_traffic,
    running_ratings,
)
from tryage.onboarding.config import OnboardingConfig
from tryage.traffic.ratings import mean_rating

PROMPTS = [
    {"prompt": f"Is {i} in this {kind}?", "answer": "yes"}
    for i in range(8)
    for kind in ("poem", "law")
]
CONFIG = OnboardingConfig(questions=(), rivals=False)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Test two models that know one kind of question each, and keep the journal."""
    journal = tmp_path_factory.mktemp("test") / "models.answers.jsonl"
    models = {
        "poet": lambda text: "yes" if "poem" in text else "no",
        "expert": lambda _text: "yes",
    }
    router = Router.from_pretrained()
    _, report = router.onboard_models(
        models, prompts=PROMPTS, journal=journal, config=CONFIG, progress=False
    )
    return router, journal, report


def test_the_last_estimates_are_those_of_the_page(tested):
    router, journal, report = tested
    found = onboarding_of_journal(router, journal, prompts=PROMPTS, config=CONFIG)
    assert [one.name for one in found.models] == [one.name for one in report.models]
    for model, page in zip(found.models, report.models, strict=True):
        assert model.last.score == pytest.approx(page.score, abs=1e-6)
        assert (model.last.low, model.last.high) == pytest.approx((page.low, page.high), abs=1e-6)
        assert model.last.answers == page.n_answers
        assert [one.answers for one in model.estimates] == list(range(page.n_answers + 1))


def test_the_interval_narrows_and_the_picture_names_each_line(tested):
    router, journal, _ = tested
    found = onboarding_of_journal(router, journal.parent, prompts=PROMPTS, config=CONFIG)
    poet = next(one for one in found.models if one.name == "poet")
    assert poet.estimates[0].score > poet.last.score
    chart = found.chart()
    assert "bands are 80% intervals" in chart.note
    assert [*chart.panels[0].marks[-1].labels] == [one.name for one in found.models]


def test_answers_to_unknown_questions_are_left_out_and_counted(tested):
    router, journal, _ = tested
    found = onboarding_of_journal(router, journal, prompts=PROMPTS[:8], config=CONFIG)
    assert found.n_skipped > 0
    assert "answers to unknown questions are left out" in found.chart().note
    with pytest.raises(InputError, match="give the prompts of the test"):
        onboarding_of_journal(router, journal, prompts=["other"], config=CONFIG)


def test_the_journal_is_read_and_not_changed(tested, tmp_path):
    router, journal, _ = tested
    copy = tmp_path / "models.answers.jsonl"
    copy.write_text(journal.read_text() + '{"model": "poet", "que')
    before = copy.read_bytes()
    assert onboarding_of_journal(router, copy, prompts=PROMPTS, config=CONFIG).models
    assert copy.read_bytes() == before


@pytest.mark.parametrize(
    "content", [None, "", '{"model": "a", "question": "q", "method": "m", "error": "x"}\n']
)
def test_without_an_answer_there_is_nothing_to_draw(tested, tmp_path, content):
    path = tmp_path / "models.answers.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"no scored answer|no file"):
        onboarding_of_journal(tested[0], path)


def test_a_folder_has_one_journal(tested, tmp_path):
    with pytest.raises(InputError, match="0 journals"):
        onboarding_of_journal(tested[0], tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.answers.jsonl").write_text("")
    with pytest.raises(InputError, match="2 journals"):
        onboarding_of_journal(tested[0], tmp_path)


def test_of_traffic_it_is_the_running_mean_of_the_ratings(simulate_traffic):
    rows, _ = simulate_traffic(300)
    found = running_ratings(rows)
    assert {one.name for one in found.models} == {"small", "medium", "large"}
    for model in found.models:
        scores = [
            mean_rating(given)
            for _, outcome, given in rows
            if mean_rating(given) is not None and outcome.served_by == model.name
        ]
        assert model.last.answers == len(scores)
        assert model.last.score == pytest.approx(sum(scores) / len(scores))
        assert model.estimates[0].score == scores[0]
        assert model.last.low < model.last.score < model.last.high
    best, second = found.models[:2]
    assert best.last.score >= second.last.score
    assert best.name in found.title()


def test_a_log_is_read_and_one_without_ratings_refused(traffic, simulate_traffic):
    rows, _ = simulate_traffic(60)
    for record, outcome, _ in rows:
        traffic.record_decision(record)
        traffic.record_outcome(outcome)
    with pytest.raises(InputError, match="No answer in this period has a rating"):
        onboarding_of_traffic(traffic)
    rated = next(feedback for _, _, given in rows for feedback in given)
    traffic.add_feedback(rated)
    assert onboarding_of_traffic(traffic).models[0].last.answers == 1
    with pytest.raises(InputError, match="expected a Traffic"):
        onboarding_of_traffic(None)
