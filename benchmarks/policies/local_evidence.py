"""Measure what the answers of a local model tell about themselves, on the questions that ship.

Run from the root of the repository, after installing the extra `deep`, where `MODEL` is a folder or
a Hub id that transformers loads:

    python benchmarks/policies/local_evidence.py MODEL [--questions 120] [--language en]

Each question is answered twice: greedily, with the log probabilities of the tokens, and by a sample
at temperature .7. An AUC is the probability that a right answer has more evidence than a wrong one;
beyond the prediction, it is that of the likelihood fitted with the share of right answers to other
questions of the same kind as prior.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from tryage.onboarding.questions import LEVELS, Question, QuestionScorer, load_questions
from tryage.policies.evidence import (
    Agreement,
    AnswerEvidence,
    FormatCheck,
    LogProbability,
    Verifier,
)
from tryage.policies.likelihood import Likelihood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float64Array

MAX_NEW_TOKENS = 24

_BATCH = 16

_N_FOLDS = 5

_TOP = 2

VERIFIERS: dict[str, Verifier] = {
    "mean log probability": LogProbability(),
    "the same of 4 tokens": LogProbability(tokens=4),
    "margin": LogProbability(margin=True),
    "agreement of 2 samples": Agreement(),
    "not cut off": FormatCheck(),
}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A causal language model with its tokenizer."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, source: str) -> LocalModel:
        """Load the model; the tokenizer fills up on the left, as generation needs it."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(AutoModelForCausalLM.from_pretrained(source).eval(), tokenizer)

    def answer(self, texts: Sequence[str], temperature: float | None) -> list[AnswerEvidence]:
        """Return the answers to prompts, greedy ones without a temperature."""
        import torch

        chats = [f"<|im_start|>user\n{one}<|im_end|>\n<|im_start|>assistant\n" for one in texts]
        inputs = self.tokenizer(chats, return_tensors="pt", padding=True)
        sampling = {"do_sample": False} if temperature is None else {"do_sample": True}
        with torch.inference_mode():
            out = self.model.generate(
                **inputs,
                **sampling,
                temperature=temperature,
                max_new_tokens=MAX_NEW_TOKENS,
                output_logits=True,
                return_dict_in_generate=True,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        tokens = out.sequences[:, inputs["input_ids"].shape[1] :]
        scores = torch.stack(out.logits, dim=1).log_softmax(dim=-1)
        return [self._evidence(*row) for row in zip(texts, tokens, scores, strict=True)]

    def _evidence(self, text: str, tokens: Any, scores: Any) -> AnswerEvidence:  # noqa: ANN401 - tensors
        """Return one answer, up to the token that ends it."""
        ended = (tokens == self.tokenizer.eos_token_id).nonzero()
        n = int(ended[0]) if len(ended) else len(tokens)
        tokens, scores = tokens[:n], scores[:n]
        top = scores.topk(_TOP, dim=-1).values
        return AnswerEvidence(
            question=text,
            text=self.tokenizer.decode(tokens, skip_special_tokens=True),
            log_probabilities=tuple(scores.gather(-1, tokens[:, None])[:, 0].tolist()),
            top_log_probabilities=tuple(map(tuple, top.tolist())),
            finish_reason="stop" if len(ended) else "length",
        )


def choose_questions(language: str, levels: Sequence[str], limit: int) -> list[Question]:
    """Return questions without code, drawn at random, always the same ones."""
    questions = load_questions(languages=[language], levels=levels, runs_code=False)
    rows = np.random.default_rng(0).permutation(len(questions))[:limit]
    return [questions[row] for row in sorted(rows)]


def answer_all(model: LocalModel, questions: Sequence[Question]) -> list[AnswerEvidence]:
    """Return the greedy answers, each with one sample."""
    found = []
    for start in range(0, len(questions), _BATCH):
        texts = [one.prompt.text for one in questions[start : start + _BATCH]]
        answers, samples = (model.answer(texts, value) for value in (None, 0.7))
        found += [
            AnswerEvidence(
                question=one.question,
                text=one.text,
                log_probabilities=one.log_probabilities,
                top_log_probabilities=one.top_log_probabilities,
                finish_reason=one.finish_reason,
                samples=(sample,),
            )
            for one, sample in zip(answers, samples, strict=True)
        ]
    return found


def kind_priors(questions: Sequence[Question], right: Float64Array) -> Float64Array:
    """Return the share of right answers to questions of the same kind in other folds."""
    folds = np.arange(len(questions)) % _N_FOLDS
    kinds = np.array([one.kind for one in questions])
    priors = np.empty(len(questions))
    for row, (fold, kind) in enumerate(zip(folds, kinds, strict=True)):
        others = folds != fold
        alike = right[others & (kinds == kind)]
        priors[row] = (alike.sum() + right[others].mean()) / (len(alike) + 1)
    return priors


def main() -> None:
    """Print the AUC of each verifier."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder or Hub id")
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--language", default="en")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=["easy"])
    arguments = parser.parse_args()
    questions = choose_questions(arguments.language, arguments.levels, arguments.questions)
    answers = answer_all(LocalModel.load(arguments.model), questions)
    scorer = QuestionScorer(questions)
    right = np.array(
        [
            float(scorer(question.prompt, answer.text or "").score)
            for question, answer in zip(questions, answers, strict=True)
        ]
    )
    if right.min() == right.max():
        sys.exit(
            f"All {len(questions)} answers have the score {right[0]:g}: evidence tells nothing."
        )
    priors = kind_priors(questions, right)
    print(f"{len(questions)} questions, {right.mean():.1%} right\n")
    print("| evidence | AUC | 95% of bootstrap | beyond the kind |\n|---|---|---|---|")
    print(_row("the kind alone", priors, right, np.full(len(right), right.mean())))
    for name, verifier in VERIFIERS.items():
        readings = [verifier.read(one).value for one in answers]
        print(_row(name, np.array(readings, np.float64), right, priors))


def _row(name: str, evidence: Float64Array, right: Float64Array, priors: Float64Array) -> str:
    known = ~np.isnan(evidence)
    evidence, right, priors = evidence[known], np.round(right[known]), priors[known]
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(500):
        rows = generator.integers(0, len(right), len(right))
        if 0 < right[rows].mean() < 1:
            draws.append(roc_auc_score(right[rows], evidence[rows]))
    low, high = np.percentile(draws, [2.5, 97.5])
    beyond = Likelihood.fit(evidence, right, priors).auc
    auc = roc_auc_score(right, evidence)
    return f"| {name} | {auc:.3f} | {low:.3f} to {high:.3f} | {beyond:.3f} |"


if __name__ == "__main__":
    main()
