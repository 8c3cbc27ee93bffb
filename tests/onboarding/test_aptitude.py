"""The course of a test: batches, limits, failures, and Ctrl-C."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert
from tryage.errors import FileWriteError
from tryage.onboarding.aptitude import MAX_FAILURES, AptitudeTest
from tryage.onboarding.belief import AbilityBelief, QuestionPlaces
from tryage.onboarding.candidates import Candidate
from tryage.onboarding.config import OnboardingConfig
from tryage.onboarding.journal import AnswerJournal, open_journal
from tryage.onboarding.prompts import collect_prompts
from tryage.onboarding.selection import TypicalChoices
from tryage.perception.abilities import Gaussian, LogitLink
from tryage.scoring.measurement import Budget
from tryage.scoring.replies import Answer

N = 30


def make_test(clients, journal=None, budget=None, scorer=None, **config):
    rows = [{"prompt": f"question {i}", "answer": "yes"} for i in range(N)]
    questions = collect_prompts((), rows, None, sandbox=False).question_set()
    if scorer is not None:
        questions = replace(questions, scorer=scorer)
    rng = np.random.default_rng(0)
    positions = np.column_stack([np.ones(N), rng.normal(size=N)])
    places = QuestionPlaces(positions, np.full(N, 0.1), np.full(N, 0.1))
    prior = Gaussian(np.array([0.5, 0.0]), 0.04 * np.eye(2))
    choices = TypicalChoices(
        positions[:8], np.zeros((8, len(clients))), np.full(8, np.inf), LogitLink(-2.0, 4.0)
    )
    candidates = [
        Candidate(Expert(name, input_price=0.0, output_price=0.0), client)
        for name, client in clients.items()
    ]
    belief = AbilityBelief([prior] * len(clients), places)
    return AptitudeTest(
        candidates,
        questions,
        belief,
        choices,
        journal or AnswerJournal(),
        Budget(budget),
        OnboardingConfig(**config),
    )


def count_answers(journal):
    names = sorted(one.model for one in journal.records)
    return {name: len(list(group)) for name, group in itertools.groupby(names)}


@pytest.mark.parametrize("max_prompts", [1, 7, 10])
def test_no_model_gets_more_questions_than_the_limit(max_prompts):
    journal = AnswerJournal()
    clients = {"a": lambda _: "yes", "b": lambda _: "yes"}
    make_test(clients, journal, max_prompts=max_prompts, tolerance=0.0).run(progress=False)
    assert count_answers(journal) == {"a": max_prompts, "b": max_prompts}


def test_all_models_of_a_batch_get_the_same_questions():
    journal = AnswerJournal()
    clients = {"a": lambda _: "yes", "b": lambda _: "no"}
    make_test(clients, journal, max_prompts=5, tolerance=0.0).run(progress=False)
    asked = {name: {r.question for r in journal.records if r.model == name} for name in clients}
    assert asked["a"] == asked["b"]


def test_the_questions_end_before_the_limit_without_an_error():
    outcome = make_test({"a": lambda _: "yes"}, max_prompts=500, min_prompts=500).run(
        progress=False
    )
    assert outcome.failed == {}


def test_a_model_is_given_up_after_some_failures_in_a_row():
    class FilteredError(Exception):
        status_code = 400

    asked = []

    def filtered(text):
        asked.append(text)
        raise FilteredError("not this one")

    outcome = make_test({"a": lambda _: "yes", "b": filtered}).run(progress=False)
    assert "not this one" in outcome.failed["b"]
    assert len(asked) < 2 * MAX_FAILURES


def test_what_a_scorer_does_wrong_is_the_reason_that_is_given():
    outcome = make_test({"a": lambda _: "yes"}, scorer=lambda *_: 7).run(progress=False)
    assert "A scorer returned 7" in outcome.failed["a"]


def test_a_reply_without_text_gives_up_that_model_alone():
    outcome = make_test({"a": lambda _: "yes", "b": lambda _: None}).run(progress=False)
    assert "without text" in outcome.failed["b"]
    assert "a" not in outcome.failed


def test_a_test_with_too_few_questions_for_the_minimum_is_settled_if_nothing_is_open():
    outcome = make_test({"a": lambda _: "yes"}, max_prompts=4, min_prompts=10).run(progress=False)
    assert outcome.is_settled


def test_the_bar_says_what_choices_may_lose_and_when_the_ranking_is_settled(capsys):
    make_test({"a": lambda _: "yes", "b": lambda _: "no"}, tolerance=0.05).run()
    shown = capsys.readouterr().err
    assert "choices may lose" in shown
    assert "the ranking is settled" in shown


def test_spending_stays_below_the_budget_though_answers_get_dearer():
    prices = iter(np.linspace(0.001, 0.01, 200).tolist())
    clients = dict.fromkeys("ab", lambda _: Answer("yes", cost=next(prices)))
    test = make_test(clients, budget=0.03, tolerance=0.0)
    outcome = test.run(progress=False)
    assert outcome.out_of_budget
    assert outcome.spent <= 0.03


def test_a_model_that_was_given_up_does_not_keep_the_others_from_being_settled():
    def is_right_on_every_other(text):
        return "yes" if int(text.split()[-1]) % 2 else "no"

    clients = {"a": is_right_on_every_other, "b": lambda _: "no", "c": lambda _: None}
    outcome = make_test(clients, tolerance=0.02).run(progress=False)
    assert outcome.is_settled
    assert "c" in outcome.failed


def test_a_budget_that_allows_nothing_ends_the_test_at_once():
    outcome = make_test({"a": lambda _: "yes"}, budget=0.0).run(progress=False)
    assert outcome.out_of_budget
    assert outcome.spent == 0.0


def test_after_an_answer_that_cannot_be_written_no_further_one_is_paid_for(tmp_path, full_disk):
    asked = []

    def answer(text):
        asked.append(text)
        time.sleep(0.01)
        return "yes"

    models = dict.fromkeys("abcd", answer)
    config = {"batch_size": 20, "max_prompts": 20, "concurrency": 1}
    with (
        pytest.raises(FileWriteError, match="make room"),
        open_journal(tmp_path / "answers.jsonl") as journal,
        full_disk(100),  # one answer
    ):
        make_test(models, journal, **config).run(progress=False)
    assert len(asked) < 20  # of 80
    kept = {(one.model, one.question) for one in journal.records[:1]}
    with open_journal(tmp_path / "answers.jsonl") as journal:
        make_test(models, journal, **config).run(progress=False)
    answered = [(one.model, one.question) for one in journal.records]
    assert len(set(answered)) == len(answered)
    assert kept <= set(answered)


def test_an_answer_is_written_down_before_the_next_one_is_paid_for(tmp_path, monkeypatch):
    """What is learned from the answers takes longer than the answers, as on a busy machine."""
    path, missing = tmp_path / "answers.jsonl", []
    update = AptitudeTest._update
    monkeypatch.setattr(AptitudeTest, "_update", lambda *args: (time.sleep(0.02), update(*args)))
    answered = itertools.count()

    def answer(_):
        missing.append(next(answered) - len(path.read_text().splitlines()))
        return "yes"

    config = {"batch_size": 20, "max_prompts": 20, "concurrency": 2}
    with open_journal(path) as journal:
        make_test({"a": answer}, journal, **config).run(progress=False)
    assert len(missing) == 20
    assert max(missing) <= 2  # those in flight
