"""Teach a table for many languages that a translation leads to the decision of its English text.

    python benchmarks/distill_multilingual_align.py ENCODER PACKAGES --out FOLDER

Sentences of catalogues and the translated requests (`difficulty/translations`) learn the embedding
of their English texts, most of all where the abilities of a router's experts depend on it. Tokens
that English texts use do not change: English prompts keep their embeddings.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "difficulty"))

from anchors import SLOT, read_translated_requests
from distill_corpus import held_out, read_corpus
from distill_multilingual import LANGUAGES, token_ids
from distill_multilingual_corpus import read_translations
from distill_multilingual_noise import disturb
from distill_students import distillation_loss, drop_tokens

from tryage import Router
from tryage.learning.training.optimizer import ResumableTrainer, Schedule
from tryage.perception.encoder import StaticEncoder
from tryage.perception.head import RidgeRegression
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from distill_multilingual_corpus import Translations
    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, Int64Array
    from tryage.perception.model import LearnedPerception

Pair = tuple[str, str]
"""An English text and its translation."""

SCHEDULE = Schedule(epochs=6, learning_rate=1e-2, batch_size=4_096, dropout=0.1)
N_SENTENCES, N_OTHER_SENTENCES = 5_000, 500  # of a language with requests, of another one
VARIANTS = 12  # of a request in each language
N_DIRECTIONS = 8
DIRECTION_WEIGHT = 30.0
MIN_USES = 3  # a token that English texts use as often does not change


def catalogue_pairs(translations: Translations, rng: np.random.Generator) -> dict[str, list[Pair]]:
    """Return sentences of each language at random, without those that are held out."""
    found: dict[str, list[Pair]] = {language: [] for language in LANGUAGES}
    for english, others in translations.items():
        if 20 < len(english) < 300 and not held_out(english):
            for language in others.keys() & found.keys():
                found[language].append((english, others[language]))
    with_requests = read_translated_requests().keys()
    sizes = {
        language: N_SENTENCES if language in with_requests else N_OTHER_SENTENCES
        for language in found
    }
    return {
        language: [pairs[row] for row in rng.permutation(len(pairs))[: sizes[language]]]
        for language, pairs in found.items()
    }


def request_pairs(sentences: dict[str, list[Pair]], rng: np.random.Generator) -> list[Pair]:
    """Return each request with its translations: alone, or with a sentence that is also translated.

    A third of the translations have mistakes of typing.
    """
    requests, found = read_translated_requests(), []
    for language in (language for language in requests if language != "en"):
        for english, other in zip(requests["en"], requests[language], strict=True):
            for variant in range(VARIANTS):
                source, text = english.prompt, other.prompt
                if SLOT in source or (variant > 1 and rng.random() < 0.5):
                    sentence = sentences[language][rng.integers(len(sentences[language]))]
                    source, text = (
                        _with_text(request, part)
                        for request, part in zip((source, text), sentence, strict=True)
                    )
                found.append((source, disturb(text, rng) if variant % 3 == 2 else text))
    return found


def _with_text(request: str, text: str) -> str:
    return request.replace(SLOT, text) if SLOT in request else f"{request}\n{text}"


def decision_directions(perception: LearnedPerception) -> Float32Array:
    """Return the directions of embeddings `(dim, n)` along which experts differ most.

    They are the principal components of the effect of an embedding on the predicted losses; the
    first has length one.
    """
    ridge = next(e for e in perception.head.estimators if isinstance(e, RidgeRegression))
    slope = ridge.slope[: perception.encoder.dim]
    effects = slope @ perception.abilities.means[:, 1:].T
    axes, lengths, _ = np.linalg.svd(
        effects - effects.mean(axis=1, keepdims=True), full_matrices=False
    )
    return np.asarray(axes[:, :N_DIRECTIONS] * lengths[:N_DIRECTIONS] / lengths[0], np.float32)


def used_tokens(ids: Sequence[Int64Array], n_tokens: int) -> NDArray[np.bool_]:
    """Mark the tokens that texts use `MIN_USES` times or more, `(n_tokens,)`."""
    return np.bincount(np.concatenate(ids), minlength=n_tokens) >= MIN_USES


def align(
    encoder: StaticEncoder,
    pairs: Sequence[Pair],
    english: Sequence[str],
    directions: Float32Array,
) -> StaticEncoder:
    """Train the rows of all tokens that the `english` texts do not use.

    Raises:
        MissingExtraError: torch is not installed.
    """
    tokenizer = encoder._tokenizer.tokenizer  # noqa: SLF001 - a script of the same project
    table, scales = encoder._table, encoder._scales  # noqa: SLF001 - the same
    rows = np.multiply(table, scales[:, None], dtype=np.float32)
    targets = np.concatenate(
        [encoder.encode([e for e, _ in pairs[i : i + 500]]) for i in range(0, len(pairs), 500)]
    )
    ids = token_ids(tokenizer, [text for _, text in pairs])
    kept = np.flatnonzero(np.any(targets, axis=1) & np.array([len(i) > 0 for i in ids]))
    is_fixed = used_tokens(token_ids(tokenizer, english), len(rows))
    trained = train_rows(rows, [ids[row] for row in kept], targets[kept], is_fixed, directions)
    return StaticEncoder.from_rows(trained, tokenizer)


def train_rows(
    rows: Float32Array,
    ids: Sequence[Int64Array],
    targets: Float32Array,
    is_fixed: NDArray[np.bool_],
    directions: Float32Array,
) -> Float32Array:
    """Train the rows `(vocabulary, dim)` that are not fixed, so that texts reach their targets."""
    import torch

    normalize, bag = torch.nn.functional.normalize, torch.nn.functional.embedding_bag
    table = torch.nn.Parameter(torch.from_numpy(rows.copy()))
    is_trained = torch.from_numpy(~is_fixed)[:, None]
    table.register_hook(lambda gradient: gradient * is_trained)
    goal, axes = torch.from_numpy(targets), torch.from_numpy(directions)

    def loss(batch: Int64Array, rng: np.random.Generator) -> torch.Tensor:
        tokens, starts = drop_tokens([ids[i] for i in batch], SCHEDULE.dropout, rng)
        sums = bag(torch.from_numpy(tokens), table, torch.from_numpy(starts), mode="sum")
        student, teacher = normalize(sums, dim=1), goal[torch.from_numpy(batch)]
        missed = ((student - teacher) @ axes).pow(2).sum(1).mean()
        return distillation_loss(student, teacher) + DIRECTION_WEIGHT * missed

    def batches(rng: np.random.Generator) -> list[Int64Array]:
        order = rng.permutation(len(ids))
        return [order[i : i + SCHEDULE.batch_size] for i in range(0, len(ids), SCHEDULE.batch_size)]

    ResumableTrainer({"table": table}, SCHEDULE).run(loss, batches)
    return np.where(is_fixed[:, None], rows, table.detach().numpy())


def main() -> None:
    """Read the texts, train, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="a folder that distill_multilingual.py wrote")
    parser.add_argument("packages", type=Path, help="the folder that it read, or a file of pairs")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--router", type=Path, help="a router on this encoder; the bundled one")
    parser.add_argument("--out", type=Path, default=Path("build/encoders/aligned"))
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sentences = catalogue_pairs(_read_sentences(options.packages), rng)
    pairs = [pair for some in sentences.values() for pair in some] + request_pairs(sentences, rng)
    english = [*read_corpus(options.data).train, *dict.fromkeys(source for source, _ in pairs)]
    perception = Router.from_pretrained(options.router).perception
    encoder = load_encoder(options.encoder)
    align(encoder, pairs, english, decision_directions(perception)).save(options.out)


def _read_sentences(packages: Path) -> Translations:
    if packages.is_file():
        found: Translations = json.loads(packages.read_text("utf-8"))
        return found
    return read_translations(packages)[0]


if __name__ == "__main__":
    main()
