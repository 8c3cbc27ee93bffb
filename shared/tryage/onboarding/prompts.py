"""What the models are asked: the package's questions and the user's prompts, each with a scorer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.errors import InputError
from tryage.onboarding.aptitude import QuestionSet
from tryage.onboarding.judge import RatingJudge
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import (
    PassesTests,
    Scorer,
    ScoreResult,
    exact_match,
    format_choices,
    multiple_choice,
    numeric,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.onboarding.candidates import Candidate
    from tryage.onboarding.questions import Question

OwnPrompt: TypeAlias = "Prompt | str | Mapping[str, Any]"
"""A prompt of the user: a text, or a row with an answer to check (see `scored_prompt`)."""

_ANSWER_FIELDS = ("answer", "reference", "tests", "schema", "choices")

_FORM = (
    '{"prompt": "..."} with "answer" (a text, a number, or a list of them), with "choices" and '
    '"answer", with "tests" (Python assertions) or with "schema" (a JSON schema); a prompt without '
    "an answer needs a judge"
)


class ScoredPrompts:
    """Collects prompts with the scorer of each, which is itself a scorer of them all."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self._scorers: dict[str, Scorer] = {}
        self._texts: dict[str, str] = {}

    def add(self, prompt: Prompt, scorer: Scorer, text: str | None = None) -> None:
        """Add a prompt; `text` is what is sent if it is not the prompt's own."""
        if prompt.id in self._scorers:
            return
        self.prompts.append(prompt)
        self._scorers[prompt.id] = scorer
        if text is not None:
            self._texts[prompt.id] = text

    def __call__(self, prompt: Prompt, answer: str) -> ScoreResult:
        """Score an answer by the scorer of its prompt."""
        return ScoreResult.from_value(self._scorers[prompt.id](prompt, answer))

    def method(self, prompt: Prompt) -> str:
        """Return the name of the scorer of a prompt."""
        scorer = self._scorers[prompt.id]
        return str(getattr(scorer, "__name__", type(scorer).__name__))

    def ask(self, prompt: Prompt) -> str:
        """Return what is sent for a prompt."""
        return self._texts.get(prompt.id, prompt.text)

    def question_set(self) -> QuestionSet:
        """Return all prompts as the questions of a test.

        Raises:
            InputError: there is none.
        """
        if not self.prompts:
            raise InputError("There is no question to ask. Give prompts, or use the package's own.")
        return QuestionSet(self.prompts, self, self.ask)


def collect_prompts(
    questions: Sequence[Question],
    prompts: Iterable[OwnPrompt] | None,
    judge: Candidate | None,
    *,
    sandbox: bool,
) -> ScoredPrompts:
    """Return the package's `questions` and the user's own `prompts`, with the scorer of each.

    Raises:
        InputError: a prompt is malformed, or nothing can score its answers.
    """
    collected = ScoredPrompts()
    rate = None if judge is None else RatingJudge(judge.client, judge.expert)
    for row in _check_prompts(prompts):
        prompt, scorer, text = scored_prompt(row, rate, sandbox=sandbox)
        collected.add(prompt, scorer, text)
    if questions:
        from tryage.onboarding.questions import QuestionScorer

        scorer = QuestionScorer(questions, sandbox=sandbox)
        for question in questions:
            collected.add(question.prompt, scorer)
    return collected


def scored_prompt(
    row: OwnPrompt, judge: Scorer | None, *, sandbox: bool
) -> tuple[Prompt, Scorer, str | None]:
    """Return a prompt of the user, what scores answers to it, and the text to send if another.

    Raises:
        InputError: it is malformed, or nothing can score its answers.
    """
    if isinstance(row, str):
        row = {"prompt": row}
    if isinstance(row, Prompt):
        fields: Mapping[str, Any] = {"choices": row.choices, "answer": row.references}
        prompt = row
    elif isinstance(row, Mapping):
        fields = row
        prompt = _parse_prompt(row)
    else:
        raise InputError(f"A prompt is {row!r:.80}; expected {_FORM}.")
    known = {name for name in _ANSWER_FIELDS if fields.get(name)}
    if "schema" in known:
        from tryage.scoring.formats import json_schema

        return prompt, json_schema, None
    if "tests" in known:
        return prompt, PassesTests(sandbox=sandbox), None
    if "choices" in known and prompt.references:
        return prompt, multiple_choice, format_choices(prompt)
    if prompt.references and judge is None:
        return prompt, numeric if _are_numbers(prompt.references) else exact_match, None
    if judge is None:
        raise InputError(
            f"Nothing can score the answers to {prompt.text!r:.60}. Expected {_FORM} (judge=...)."
        )
    return prompt, judge, None


def _parse_prompt(row: Mapping[str, Any]) -> Prompt:
    """Read a row; what checks its answers becomes its reference."""
    unknown = set(row) - {
        "prompt",
        "id",
        "prompt_id",
        "category",
        "kind",
        "source",
        *_ANSWER_FIELDS,
    }
    if unknown:
        raise InputError(f"A prompt has the unknown fields {sorted(unknown)}; expected {_FORM}.")
    schema, tests = row.get("schema"), row.get("tests")
    reference = row.get("answer", row.get("reference"))
    if schema is not None:
        reference = schema if isinstance(schema, str) else json.dumps(schema)
    if tests is not None:
        reference = "\n".join(tests) if isinstance(tests, (list, tuple)) else tests
    return Prompt.from_dict(
        {
            "prompt": row.get("prompt"),
            "reference": reference,
            "choices": row.get("choices"),
            "category": row.get("category", row.get("kind")),
            "source": row.get("source", "own"),
            "prompt_id": row.get("prompt_id", row.get("id")),
        }
    )


def _check_prompts(prompts: Iterable[OwnPrompt] | None) -> Iterable[OwnPrompt]:
    if prompts is None:
        return ()
    if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, Iterable):
        raise InputError(f"The prompts are {prompts!r:.80}; give a list of them.")
    return prompts


def _are_numbers(references: Sequence[str]) -> bool:
    return all(_is_number(one) for one in references)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True
