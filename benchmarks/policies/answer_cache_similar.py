"""Measure how often a cache takes another request for the same one, with a calibrated threshold.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/answer_cache_similar.py [--encoder bundled] [--seeds 5]

Half of the prompts of three real sets are in the cache. A new request is either one of them in
other words, or one of the other half. Its pair is the most similar request in the cache, and the
pair is the same only if the request was made from it. No set has labelled pairs of requests, so the
other words are made by rules: politeness, case, punctuation, typing errors, contractions. The other
half is real, and hard: WinoGrande's twins differ in one word, ARC's questions come again with other
instructions, GSM8K's exercises have other numbers. The threshold is fitted to one half of the pairs
and judged on the other half, and on a set that was left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import beta

from tryage.errors import InputError
from tryage.perception.persistence import load_encoder
from tryage.policies.similar_requests import SimilarRequests, pair_similarities, unit_rows

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # datasets.py

from datasets import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray
    from tryage.policies.similar_requests import Encode

SETS = ("routerbench_subset", "zeroeval", "llmrouter_uiuc", "coderouter_id")
ENCODERS = {
    name: Path(__file__).resolve().parents[2] / "shared/tryage/perception" / folder
    for name, folder in {
        "bundled": "bundled/encoder",
        "transformer": "bundled_transformer",
    }.items()
}
N_PROMPTS = 1_600  # of each set
MAX_LENGTH = 1_500  # characters: people do not type more in other words

_CONTRACTIONS = (
    ("What is", "What's"),
    ("do not", "don't"),
    ("cannot", "can't"),
    ("is not", "isn't"),
)
_OPENINGS = ("Please help me: ", "Hi! ", "Question: ", "Could you answer this? ")
_ENDINGS = (" Thanks!", " Thank you in advance.", " Please.", " ")


class Pairs(NamedTuple):
    """New requests with the most similar one in the cache, and whether they are the same."""

    texts: list[tuple[str, str]]
    same: BoolArray


def in_other_words(text: str, rng: np.random.Generator) -> str:
    """Return a text with one to three changes that leave its meaning."""
    changes = [
        lambda t: str(rng.choice(_OPENINGS)) + t,
        lambda t: t + str(rng.choice(_ENDINGS)),
        lambda t: t[:1].lower() + t[1:].rstrip("."),
        lambda t: _typing_error(t, rng),
        _contracted,
    ]
    for i in rng.choice(len(changes), rng.integers(1, 4), replace=False):
        text = changes[int(i)](text)
    return text


def _typing_error(text: str, rng: np.random.Generator) -> str:
    """Return a text in which two letters of a long word are exchanged."""
    words = text.split(" ")
    long_ones = [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if not long_ones:
        return text
    i = int(rng.choice(long_ones))
    at = int(rng.integers(1, len(words[i]) - 2))
    words[i] = words[i][:at] + words[i][at + 1] + words[i][at] + words[i][at + 2 :]
    return " ".join(words)


def _contracted(text: str) -> str:
    for long, short in _CONTRACTIONS:
        text = text.replace(long, short)
    return text


def make_pairs(name: str, encode: Encode, seed: int, n: int = N_PROMPTS) -> Pairs:
    """Return the pairs of one set: half of its new requests are in the cache in other words."""
    rng = np.random.default_rng(seed)
    prompts = [text for text in dict.fromkeys(load(name).prompts) if len(text) <= MAX_LENGTH]
    order = rng.permutation(len(prompts))[:n]
    cached = [prompts[i] for i in order[: len(order) // 2]]
    others = [prompts[i] for i in order[len(order) // 2 :]]
    sources = list(range(len(cached)))
    requests = [in_other_words(cached[i], rng) for i in sources] + others
    similarities = unit_rows(encode(requests)) @ unit_rows(encode(cached)).T
    nearest = similarities.argmax(axis=1)
    same = np.array([i < len(sources) and nearest[i] == sources[i] for i in range(len(requests))])
    return Pairs([(one, cached[j]) for one, j in zip(requests, nearest, strict=True)], same)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of several sets."""
    return Pairs(
        [pair for part in parts for pair in part.texts], np.hstack([p.same for p in parts])
    )


def halves(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Divide pairs at random."""
    order = np.random.default_rng(seed).permutation(len(pairs.same))
    return tuple(  # type: ignore[return-value]  # two of them
        Pairs([pairs.texts[i] for i in rows], pairs.same[rows]) for rows in np.array_split(order, 2)
    )


def judge(similar: SimilarRequests, pairs: Pairs) -> tuple[int, int, int]:
    """Return the hits, the false ones, and how many requests could be hits."""
    is_hit = pair_similarities(similar.encode, pairs.texts) >= similar.threshold - 1e-6
    return int(is_hit.sum()), int((is_hit & ~pairs.same).sum()), int(pairs.same.sum())


def report(label: str, hits: int, false_hits: int, possible: int) -> str:
    """Return one row: false hits with the upper bound of Clopper and Pearson, and found hits."""
    upper = beta.ppf(0.95, false_hits + 1, hits - false_hits) if hits > false_hits else 1.0
    found = (hits - false_hits) / possible if possible else 0.0
    rate = false_hits / hits if hits else 0.0
    return f"| {label} | {hits} | {false_hits} | {rate:.2%} | {upper:.2%} | {found:.1%} |"


def main() -> None:
    """Print how thresholds do on pairs like those that they are fitted to, and on other sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", choices=ENCODERS, default="bundled")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--without-details", action="store_true", help="compare embeddings alone")
    arguments = parser.parse_args()
    if arguments.without_details:
        import tryage.policies.similar_requests as module

        module.may_be_same = lambda *_: True
    encode = load_encoder(ENCODERS[arguments.encoder]).encode
    print("| judged on | hits | false | rate | at most (95%) | paraphrases found |")
    print("|---|---|---|---|---|---|")
    totals = {label: np.zeros(3, int) for label in ("the other half", *SETS)}
    for seed in range(arguments.seeds):
        sets = {name: make_pairs(name, encode, seed) for name in SETS}
        for left_out in (None, *SETS):
            used = joined([pairs for name, pairs in sets.items() if name != left_out])
            train, test = halves(used, seed)
            if left_out is not None:
                train, test = used, sets[left_out]
            try:
                similar = SimilarRequests.calibrate(encode, train.texts, train.same.tolist())
            except InputError as error:
                print(f"seed {seed}, without {left_out}: refused. {error}", flush=True)
                continue
            counts = judge(similar, test)
            totals[left_out or "the other half"] += counts
            print(
                f"seed {seed}, without {left_out}: {similar}, {counts}", file=sys.stderr, flush=True
            )
    for label, counts in totals.items():
        print(report(label, *map(int, counts)))


if __name__ == "__main__":
    main()
