"""Whether a router decides alike in every language, and what its encoder takes a prompt."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder

PROMPTS = Path(__file__).parent / "translated_prompts.json"
ROUNDS = 30


def read_prompts() -> dict[str, list[str]]:
    """Return the same forty prompts in every language: twenty easy ones, then twenty hard ones."""
    file = json.loads(PROMPTS.read_text("utf-8"))
    return {
        language: [translations[place] for translations in file["prompts"]]
        for place, language in enumerate(file["languages"])
    }


def report_encoder(encoder: Encoder, prompts: Mapping[str, Sequence[str]]) -> None:
    """Print how near a translation is to its English prompt, and how often the nearest is it."""
    english = encoder.encode(prompts["en"])
    for language, texts in prompts.items():
        cosines = encoder.encode(texts) @ english.T
        found = (cosines.argmax(1) == np.arange(len(texts))).mean()
        print(f"{language}: cosine {np.diag(cosines).mean():.3f}, nearest {found:.2f}")


def report_decisions(
    router: Router, pair: tuple[str, str], prompts: Mapping[str, Sequence[str]]
) -> None:
    """Print how often the choice between two experts is the one for the English prompt.

    The dearer one is chosen where its predicted gain exceeds a limit. Limits are quantiles of the
    gains of the English prompts, so that each divides these prompts: no constant agrees.
    """
    gains = {language: _gains(router, pair, texts) for language, texts in prompts.items()}
    limits = np.quantile(gains["en"], (0.3, 0.5, 0.7))
    for language, values in gains.items():
        agreement = [((values > limit) == (gains["en"] > limit)).mean() for limit in limits]
        easy, hard = np.split(values, 2)
        auc = (hard[:, None] > easy[None]).mean()
        print(f"{language}: decision as in English {np.mean(agreement):.3f}, AUC {auc:.3f}")


def _gains(router: Router, pair: tuple[str, str], texts: Sequence[str]) -> NDArray[np.float32]:
    """Return how much less loss the second expert is predicted to have on each text."""
    decisions = router.subset(pair).route_batch(list(texts))
    losses = [{row.name: row.predicted_loss for row in d.ranking} for d in decisions]
    return np.array([row[pair[0]] - row[pair[1]] for row in losses], np.float32)


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
    parser.add_argument("--pair", nargs=2, help="two experts of the router, the cheaper one first")
    parser.add_argument("--encoders", type=Path, nargs="*", default=[BUNDLED_FOLDER / "encoder"])
    options = parser.parse_args()
    prompts = read_prompts()
    encoders = {str(folder): load_encoder(folder) for folder in options.encoders}
    for name, encoder in encoders.items():
        print(f"encoder {name}")
        report_encoder(encoder, prompts)
    report_time(encoders, prompts)
    if options.pair:
        router = Router.from_pretrained(options.router)
        report_decisions(router, (options.pair[0], options.pair[1]), prompts)


if __name__ == "__main__":
    main()
