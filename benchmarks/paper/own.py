"""Trains own experts on real texts: specialists that start from a generalist.

    python benchmarks/paper/own.py

Each has a folder in `.paper/experts/`, which `tryage score` reads. The same command resumes a
stopped run. `measurers()` returns the measurers of all trained experts.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from corpora import WORK, corpora
from sources import SOURCES

from tryage import Expert
from tryage.checkpoint import fingerprint
from tryage.learning.cotraining.pretrain import train, train_tokenizer
from tryage.learning.cotraining.student import CausalStudent, MaskedStudent, Student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from corpora import Corpus

    from tryage.scoring.language_model import LanguageModel, Tokenizer

VOCABULARY = 4096  # logits are most of the work of a small causal model
LENGTH = 256
SMALL = {"width": 128, "layers": 2, "heads": 2}
SMALL_GENERALIST = "generalist-small"  # specialists start from it, because they are small
MEDIUM = {"width": 192, "layers": 3, "heads": 3}
# The other domains have no specialist: there the generalists and related specialists compete.
SPECIALITIES = (
    "python",
    "c",
    "perl",
    "english-manual",
    "german-manual",
    "french-manual",
    "molecules",
    "maths",
)
KINDS: dict[str, tuple[type[Student], dict[str, int]]] = {
    "masked": (MaskedStudent, {"small": 1_600_000, "medium": 3_000_000, "specialist": 700_000}),
    "causal": (CausalStudent, {"small": 1_000_000, "medium": 2_000_000, "specialist": 400_000}),
}
SAMPLED = 8  # every eighth text is counted for the frequencies of tokens
LEARNING_RATE = 2e-3  # of a generalist; a specialist is pretrained and takes half


@dataclass(frozen=True)
class Recipe:
    """How to train an expert: from scratch with a `shape`, or from the expert `base`."""

    kind: str
    part: str
    tokens: int
    shape: Mapping[str, int] | None = None
    base: str | None = None

    @property
    def name(self) -> str:
        """The name of the expert."""
        return f"{self.kind}-{self.part}"

    @property
    def student(self) -> type[Student]:
        """The class of the expert."""
        return KINDS[self.kind][0]

    def description(self, parameters: float) -> str:
        """Describe the expert for a model that has to choose one."""
        subject = next((source.about for source in SOURCES if source.name == self.part), None)
        about = f"specialised in {subject}" if subject else "a generalist: code, prose, chemistry"
        return f"A {self.kind} language model of {parameters / 1e6:.1f}M parameters, {about}."


def recipes(scale: float = 1.0) -> list[Recipe]:
    """Return all recipes; every base is before its specialists."""
    found = []
    for kind, (_, tokens) in KINDS.items():
        count = {size: round(scale * number) for size, number in tokens.items()}
        found.append(Recipe(kind, SMALL_GENERALIST, count["small"], SMALL))
        found += [
            Recipe(kind, domain, count["specialist"], base=f"{kind}-{SMALL_GENERALIST}")
            for domain in SPECIALITIES
        ]
        found.append(Recipe(kind, "generalist", count["medium"], MEDIUM))
    return found


def measurers(work: Path = WORK) -> list[LanguageModel]:
    """Return a measurer of each trained expert, masked ones first."""
    return [
        recipe.student.measurer_class.from_pretrained(folder, expert=_expert(recipe, folder))
        for recipe in recipes()
        if (folder := work / "experts" / recipe.name).exists()
    ]


def make(recipe: Recipe, domains: Mapping[str, Corpus], work: Path) -> None:
    """Train an expert, or resume its training; a trained expert is left unchanged."""
    folder = work / "experts" / recipe.name
    if folder.exists():
        return
    chosen = [domains[recipe.part]] if recipe.base else list(domains.values())
    texts = [text for corpus in chosen for text in corpus.texts["experts"]]
    student = _new_student(recipe, domains, work)
    if isinstance(student, MaskedStudent):
        before = [
            text for corpus in domains.values() for text in corpus.texts["experts"][::SAMPLED]
        ]
        student.init_output_bias(texts[::SAMPLED], before if recipe.base else ())
    start = time.process_time()
    loss = train(student, texts, recipe.tokens, checkpoint=work / "training" / recipe.name)
    seconds = time.process_time() - start
    print(f"{recipe.name}: {loss:.3f} nats/token, {seconds:.0f} s of processor time", flush=True)
    partial = folder.with_name(f"{recipe.name}.partial")
    student.save_pretrained(partial)
    partial.rename(folder)


def matrix(work: Path, domains: Sequence[Corpus], passages: int) -> dict[str, Any]:
    """Measure every expert on held-out passages: mean nats per character by expert and domain."""
    losses = {}
    for recipe in recipes():
        folder = work / "experts" / recipe.name
        if folder.exists():
            student = recipe.student.from_pretrained(folder)
            losses[recipe.name] = {
                corpus.name: float(np.nanmean(student.losses(corpus.texts["test"][:passages])))
                for corpus in domains
            }
    return {"unit": "nats per character", "passages": passages, "losses": losses}


def _new_student(recipe: Recipe, domains: Mapping[str, Corpus], work: Path) -> Student:
    settings = {"batch_tokens": 1024, "bf16": True}
    if recipe.base:
        base = work / "experts" / recipe.base
        return recipe.student.from_pretrained(
            base, name=recipe.name, learning_rate=LEARNING_RATE / 2, **settings
        )
    shape = {**(recipe.shape or {}), "length": LENGTH}
    tokenizer = _tokenizer(domains, work)
    return recipe.student.new(
        recipe.name, tokenizer, learning_rate=LEARNING_RATE, **shape, **settings
    )


def _tokenizer(domains: Mapping[str, Corpus], work: Path) -> Tokenizer:
    """Return the tokenizer of all experts, trained once on the texts for experts."""
    from transformers import PreTrainedTokenizerFast

    texts = [text for corpus in domains.values() for text in corpus.texts["experts"]]
    folder = work / f"tokenizer-{fingerprint(texts, VOCABULARY)}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        train_tokenizer(texts, VOCABULARY).save_pretrained(partial)
        partial.rename(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _expert(recipe: Recipe, folder: Path) -> Expert:
    measured = recipe.student.measurer_class.from_pretrained(folder).expert
    parameters = measured.parameters or 0.0
    return Expert(
        recipe.name,
        parameters=parameters,
        context_length=LENGTH,
        metadata={"description": recipe.description(parameters)},
    )


def main() -> None:
    """Train the missing experts, and print the loss of each expert in each domain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK, help="the folder of all results")
    parser.add_argument("--scale", type=float, default=1.0, help="times the tokens of each expert")
    parser.add_argument("--passages", type=int, default=20, help="held-out passages per domain")
    options = parser.parse_args()
    domains = {corpus.name: corpus for corpus in corpora(options.work)}
    for recipe in recipes(options.scale):
        if recipe.base is None or recipe.part in domains:
            make(recipe, domains, options.work)
    found = matrix(options.work, list(domains.values()), options.passages)
    (options.work / "experts.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(f"| nats per character | {' | '.join(domains)} |\n|---|{'---|' * len(domains)}")
    for name, row in found["losses"].items():
        print(f"| {name} | {' | '.join(f'{loss:.2f}' for loss in row.values())} |")


if __name__ == "__main__":
    main()
