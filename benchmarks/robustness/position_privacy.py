"""Measures what the position of a prompt, which a log of traffic keeps, tells about the prompt.

    python benchmarks/robustness/position_privacy.py [--prompts 100000] [--targets 1000]

An attacker has the log and the router, and so computes the position of any text. Four questions:
how often is the prompt the nearest of many candidates, if it is one of them; if only another
version of it is; what does the position alone tell of the language, the task and single words; and
which of 100 names stands in a prompt, if the attacker knows all other words of it, or not.

The prompts are those of the outcome sets in ../shared/data. The table is Markdown.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from argument_types import positive_int
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from tryage.router import Router

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # datasets.py

from datasets import DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Embed = Callable[[Sequence[str]], NDArray[np.float32]]

BATCH = 512  # prompts that are embedded, or searched, at a time

_FIRST_NAMES = (
    "Ada Adrian Agnes Aisha Alan Alba Alice Amir Ana Anders Anika Anton Arjun Astrid Aylin Ben "
    "Bianca Boris Bruno Camille Carlos Carmen Chen Chloe Clara Dana Daniel Diego Dmitri Elena "
    "Elif Elias Emma Erik Esther Eva Fatima Felix Fiona Franz Gabriel Greta Hana Hans Hassan "
    "Helen Hugo Ibrahim Ines Ingrid Irina Isaac Ivan Jana Javier Jin Joana Jonas Julia Kai Karim "
    "Keiko Kofi Lara Lars Laura Leila Leo Linh Lucia Luis Magda Marco Maria Marta Max Mehmet Mia "
    "Miguel Mina Mohammed Nadia Nico Nina Noah Olga Omar Oscar Paul Petra Priya Rosa Ruben Sara "
    "Sofia Sven Tariq Tomas Vera Yuki"
)
NAMES = _FIRST_NAMES.split()

SENTENCES = (
    "My name is {} and my knee has hurt for three weeks. What can it be?",
    "Write a letter to {} that says that the rent will rise in May.",
    "{} earns 3,200 euros a month. How much tax is that in Spain?",
    "Is it allowed to dismiss {} because of the illness?",
    "Plan a birthday party for {}, who turns nine on Saturday.",
    "Translate into French: {} has moved to Lyon.",
    "Summarize what {} said in the meeting of yesterday about the budget.",
    "Dear Sir or Madam, I write on behalf of {}. Please correct my text.",
)


def main() -> None:
    """Measure all, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=positive_int, default=100_000)
    parser.add_argument("--targets", type=positive_int, default=1_000)
    arguments = parser.parse_args()
    perception = Router.from_pretrained().perception.innermost()
    prompts, sets = read_prompts(arguments.prompts)
    embed = embedder(perception.latent_positions)
    positions = embed(prompts)
    print(f"{len(prompts):,} different prompts, positions of {positions.shape[1]} numbers\n")
    print("| question | found | by chance |\n|---|---|---|")
    for row in measure(prompts, sets, positions, embed, arguments.targets):
        print("| " + " | ".join(row) + " |", flush=True)


def measure(
    prompts: list[str],
    sets: list[str],
    positions: NDArray[np.float32],
    embed: Embed,
    n_targets: int,
) -> Iterator[tuple[str, str, str]]:
    """Yield a question, how often the attacker is right, and how often by chance."""
    rng = np.random.default_rng(0)
    targets = rng.choice(len(prompts), min(n_targets, len(prompts)), replace=False)
    chance = f"{1 / len(prompts):.5%}"
    ranks = ranks_of(positions, positions[targets], targets)
    yield "the prompt is one of the candidates: it is the nearest", share(ranks == 0), chance
    for name, change in CHANGES.items():
        changed = embed([change(prompts[i]) for i in targets])
        ranks = ranks_of(positions, changed, targets)
        yield f"the candidate is {name}: it is the nearest", share(ranks == 0), chance
        yield f"the candidate is {name}: among the nearest 10", share(ranks < 10), chance
    some = rng.choice(len(prompts), min(20_000, len(prompts)), replace=False)
    yield from attributes([prompts[i] for i in some], [sets[i] for i in some], positions[some])
    yield from names(embed)


def attributes(
    prompts: list[str], sets: list[str], positions: NDArray[np.float32]
) -> Iterator[tuple[str, str, str]]:
    """Yield what a linear classifier reads of a position, in five folds."""
    for question, labels in (("which set", sets), ("which language", languages(prompts))):
        kept, of = frequent(labels)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        accuracy = cross_val_score(model, positions[kept], of, cv=5).mean()
        most = max(Counter(of.tolist()).values()) / len(of)
        yield f"{question}, of {len(set(of.tolist()))}", f"{accuracy:.1%}", f"{most:.1%}"
    areas = word_areas(prompts, positions)
    yield (
        f"whether one of {len(areas)} frequent words is in it: AUC, median and 90th percentile",
        f"{np.median(areas):.2f}, {np.quantile(areas, 0.9):.2f}",
        "0.50",
    )


def names(embed: Embed) -> Iterator[tuple[str, str, str]]:
    """Yield how often a name is read, with the other words known and unknown."""
    positions = np.stack([embed([text.format(one) for one in NAMES]) for text in SENTENCES])
    hits, guesses = [], []
    for place in range(len(SENTENCES)):
        own, others = positions[place], np.delete(positions, place, 0)
        distances = ((own[:, None] - own[None]) ** 2).sum(-1)
        hits.append((distances.argmin(1) == np.arange(len(NAMES))).mean())
        centered = others - others.mean(1, keepdims=True)
        model = RidgeClassifier().fit(
            centered.reshape(-1, own.shape[1]), np.tile(np.arange(len(NAMES)), len(others))
        )
        guesses.append((model.predict(own - own.mean(0)) == np.arange(len(NAMES))).mean())
    chance = f"{1 / len(NAMES):.1%}"
    yield "which of 100 names, all other words known", f"{np.mean(hits):.1%}", chance
    yield "which of 100 names, other words unknown", f"{np.mean(guesses):.1%}", chance


# The versions of a prompt that the attacker may have instead of it.
CHANGES: dict[str, Callable[[str], str]] = {
    'the prompt after "Hello, "': lambda text: f"Hello, {text}",
    "the prompt without its last word": lambda text: " ".join(text.split()[:-1]) or text,
    "the first half of the prompt": lambda text: text[: max(len(text) // 2, 1)],
}


def read_prompts(limit: int) -> tuple[list[str], list[str]]:
    """Return different prompts of all sets in a random order, and the set of each."""
    from pyarrow import parquet

    sets: dict[str, str] = {}
    for path in sorted(DATA.glob("*/prompts.parquet")):
        table = parquet.read_table(path)
        if "prompt" in table.column_names:
            for text in table["prompt"].to_pylist():
                if text:
                    sets.setdefault(text, path.parent.name)
    prompts = list(sets)
    order = np.random.default_rng(0).permutation(len(prompts))[:limit]
    return [prompts[i] for i in order], [sets[prompts[i]] for i in order]


def embedder(latent_positions: Callable[[Sequence[str]], NDArray[np.float64]]) -> Embed:
    """Return what computes positions as the log keeps them: float32, without the constant."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        starts = tqdm(range(0, len(texts), BATCH), disable=len(texts) < 10 * BATCH)
        parts = [latent_positions(texts[start : start + BATCH]) for start in starts]
        return np.concatenate(parts).astype(np.float32)

    return embed


def ranks_of(
    candidates: NDArray[np.float32], queries: NDArray[np.float32], places: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return how many candidates are at least as near to each query as the one at its place.

    One that is as near counts half against the attacker, who would have to guess: rank 1.
    """
    ranks = []
    for query, place in zip(queries, places, strict=True):
        distances = ((candidates - query) ** 2).sum(1)
        own = distances[place]
        ranks.append((distances < own).sum() + (distances == own).sum() - 1)
    return np.array(ranks)


def languages(prompts: Sequence[str]) -> list[str]:
    """Return the language of each prompt, as py3langid finds it."""
    import py3langid

    return [py3langid.classify(text[:1_000])[0] for text in prompts]


def frequent(labels: Sequence[str], least: int = 50) -> tuple[NDArray[np.intp], NDArray[np.str_]]:
    """Return the places of the labels that are there often enough, and these labels."""
    counts = Counter(labels)
    kept = np.array([i for i, one in enumerate(labels) if counts[one] >= least])
    return kept, np.array([labels[i] for i in kept])


def word_areas(prompts: Sequence[str], positions: NDArray[np.float32], n: int = 100) -> list[float]:
    """Return for frequent words how well a linear score tells prompts with it from others (AUC)."""
    words = [set(re.findall(r"[a-z]{4,}", text.lower())) for text in prompts]
    counts = Counter(word for some in words for word in some)
    chosen = [word for word, count in counts.most_common(2_000) if count < len(prompts) / 5]
    scaled = StandardScaler().fit_transform(positions)
    areas = []
    for word in chosen[:: max(len(chosen) // n, 1)][:n]:
        has = np.array([word in some for some in words])
        scores = cross_val_predict(RidgeClassifier(), scaled, has, cv=5, method="decision_function")
        areas.append(roc_auc_score(has, scores))
    return areas


def share(hits: NDArray[np.bool_]) -> str:
    """Return a share with its 95% interval (Wilson 1927)."""
    n, mean, z = len(hits), float(hits.mean()), 1.96
    middle = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    return f"{mean:.1%} ({max(middle - half, 0.0):.1%} to {min(middle + half, 1.0):.1%})"


if __name__ == "__main__":
    main()
