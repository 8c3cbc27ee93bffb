"""Measures whether a router decides alike in every language, and what an encoder takes a prompt.

    python benchmarks/languages.py [--router FOLDER] [--part development] [--encoders FOLDER ...]

The prompts were written with their translations for this; no router is trained on them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "difficulty"))

from measure import auc, predicted_gains
from pools import FIVE, PAIRS, router_over

from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder

PROMPTS = Path(__file__).parent / "translated_prompts.json"
ROUNDS = 30
LIMITS = (0.3, 0.5, 0.7)  # quantiles of the English gains


def read_prompts(part: str = "development") -> dict[str, list[str]]:
    """Return the same prompts in every language: easy ones, then as many hard ones.

    Choices are made on the part "development"; the part "test" only judges them.
    """
    file = json.loads(PROMPTS.read_text("utf-8"))
    return {
        language: [translations[place] for translations in file[part]]
        for place, language in enumerate(file["languages"])
    }


def report_encoder(encoder: Encoder, prompts: Mapping[str, Sequence[str]]) -> None:
    """Print how near a translation is to its English prompt, and how often the nearest is it."""
    english = encoder.encode(prompts["en"])
    for language, texts in prompts.items():
        cosines = encoder.encode(texts) @ english.T
        found = (cosines.argmax(1) == np.arange(len(texts))).mean()
        print(f"{language}: cosine {np.diag(cosines).mean():.3f}, nearest {found:.2f}")


def report_decisions(router: Router, prompts: Mapping[str, Sequence[str]]) -> None:
    """Print by language how often a decision is the one for the English prompt.

    "default": what a user sees, with default preferences, the mean over ten pairs and a pool of
    five models. "limits": the dearer model of a pair is chosen where its predicted gain exceeds a
    quantile of the English gains, so that no constant agrees. "AUC": of the gain, hard prompts
    against easy ones.
    """
    pools = [router_over(pool, router) for pool in (*PAIRS, FIVE)]
    choices = [_choices(pool, prompts) for pool in pools]
    gains = [_gains(router, pair, prompts) for pair in PAIRS]
    constant = np.mean([_largest_share(choice["en"]) for choice in choices])
    print(f"the most frequent choice of a pool agrees in {constant:.3f}")
    print("| language | default | limits | AUC |\n|---|---:|---:|---:|")
    rows = {}
    for language in prompts:
        same = np.mean([(choice[language] == choice["en"]).mean() for choice in choices])
        limits = np.mean([limit_agreement(gain["en"], gain[language]) for gain in gains])
        areas = [
            auc(gain[language], np.arange(len(gain["en"])) * 2 >= len(gain["en"])) for gain in gains
        ]
        rows[language] = (float(same), float(limits), float(np.mean(areas)))
        print(f"| {language} | " + " | ".join(f"{value:.3f}" for value in rows[language]) + " |")
    means = np.mean([row for language, row in rows.items() if language != "en"], axis=0)
    print("| mean without English | " + " | ".join(f"{value:.3f}" for value in means) + " |")


def limit_agreement(english: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return how often two gains `(n,)` of the same prompts are on the same side of a limit."""
    limits = np.quantile(english, LIMITS)
    return float(np.mean([((other > limit) == (english > limit)).mean() for limit in limits]))


def _choices(router: Router, prompts: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.str_]]:
    """Return the names of the chosen experts by language, `(n_prompts,)`."""
    decisions = {language: router.route_batch(list(texts)) for language, texts in prompts.items()}
    return {
        language: np.array([decision.expert.name for decision in some])
        for language, some in decisions.items()
    }


def _gains(
    router: Router, pair: tuple[str, str], prompts: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.float64]]:
    """Return by language how much less loss the dear expert is predicted to have on each text."""
    return {
        language: predicted_gains(router, *pair, list(texts)) for language, texts in prompts.items()
    }


def _largest_share(choices: NDArray[np.str_]) -> float:
    return float(np.unique(choices, return_counts=True)[1].max() / len(choices))


def report_time(encoders: Mapping[str, Encoder], prompts: Mapping[str, Sequence[str]]) -> None:
    """Print the processor time of a prompt, of all encoders in turn, round by round."""
    for language, texts in prompts.items():
        times: dict[str, list[float]] = {name: [] for name in encoders}
        for _ in range(ROUNDS):
            for name, encoder in encoders.items():
                start = time.process_time()
                for text in texts:
                    encoder.encode([text])
                times[name].append((time.process_time() - start) / len(texts))
        shown = ", ".join(
            f"{name} {1e3 * min(t):.3f} (median {1e3 * float(np.median(t)):.3f})"
            for name, t in times.items()
        )
        print(f"{language}: ms a prompt: {shown}")


def main() -> None:
    """Print the figures of a router and of encoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router", type=Path, default=BUNDLED_FOLDER)
    parser.add_argument("--encoders", type=Path, nargs="*", default=[])
    parser.add_argument("--part", choices=("development", "test"), default="test")
    options = parser.parse_args()
    prompts = read_prompts(options.part)
    encoders = {str(folder): load_encoder(folder) for folder in options.encoders}
    for name, encoder in encoders.items():
        print(f"encoder {name}")
        report_encoder(encoder, prompts)
    if encoders:
        report_time(encoders, prompts)
    report_decisions(Router.from_pretrained(options.router), prompts)


if __name__ == "__main__":
    main()
