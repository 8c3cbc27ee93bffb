"""Co-training against the same compute spent on training apart: a table and heat maps.

Run from the root of the repository, after installing the extra `train`:

    OMP_NUM_THREADS=1 python benchmarks/cotraining.py [--seeds 0 1] [--tokens 600000]

The prompts are the real corpora of `benchmarks/paper/corpora.py`, split by document. Every arm has
the same small masked experts (one arm has a single one) with the same first weights, the same
prompts in the same order, and the same compute: a token that is only read to measure a loss counts
a third of one that is learned from. What the last router is fitted on is measured in all arms alike
and not counted. Losses are on test documents, in nats per character. Killed and started again, it
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.cli.train import resolve_encoder
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.modes import AtRandom, ByLabel, Decoupled, Joint
from tryage.learning.cotraining.pipeline import PromptSplits, train_system
from tryage.learning.cotraining.pretrain import train_tokenizer
from tryage.learning.cotraining.protocols import Mode, PromptPool, embed_pool
from tryage.learning.cotraining.specialization import measure_losses
from tryage.learning.cotraining.student import MaskedStudent
from tryage.learning.scoring.measurement import Prompt

if TYPE_CHECKING:
    from tryage.perception.encoder import Encoder

PARTS = ("experts", "router", "test")
SINGLE = "one expert, all tokens"
FIGURES = ("loss", "oracle", "best_single", "information", "effective", "trained", "read")
MakeMode = Callable[[int, int], Mode]


def main() -> None:
    """Run every arm with every seed, and print the table."""
    given = arguments()
    parts = read_parts(given.work, given.limit)
    encoder = resolve_encoder(None)
    texts = [prompt.text for prompt in parts.expert_train]
    pool = embed_pool(texts, encoder)
    tokenizer = train_tokenizer(
        texts[:: max(1, len(texts) // 1000)], given.vocabulary, progress=False
    )
    labels = [prompt.category or "" for prompt in parts.expert_train]
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in given.seeds:
        for name, mode in modes(labels, seed).items():
            made = 1 if name == SINGLE else given.experts
            students = [
                MaskedStudent.new(
                    f"expert-{i + 1}",
                    tokenizer,
                    width=given.width,
                    layers=given.layers,
                    heads=2,
                    seed=100 * seed + i,
                    learning_rate=given.rate,
                )
                for i in range(made)
            ]
            settings = CotrainConfig(given.tokens, batch=given.batch, seed=seed)
            place = given.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            found = arm(students, parts, mode, settings, encoder, pool, place)
            rows.setdefault(name, []).append(found)
            print(table(rows), flush=True)


def modes(labels: list[str], seed: int) -> dict[str, MakeMode]:
    """Return what is compared, by name."""
    return {
        "decoupled": Decoupled,
        "joint": partial(Joint, seed=seed),
        "apart, by true domain": lambda n, _: ByLabel(labels, n),
        "apart, at random": lambda n, _: AtRandom(n),
        SINGLE: lambda n, _: AtRandom(n),
    }


def arm(  # noqa: PLR0913 - all that an arm is made of
    students: list[MaskedStudent],
    parts: PromptSplits,
    mode: MakeMode,
    settings: CotrainConfig,
    encoder: Encoder,
    pool: PromptPool,
    place: Path,
) -> dict[str, float]:
    """Run one arm, or read what it found before."""
    result = place / "figures.json"
    if result.exists():
        return dict(json.loads(result.read_text("utf-8")))
    print(f"== {place.name}", flush=True)
    if len(students) == 1:
        history = cotrain(students, pool, mode(1, 0), settings, folder=place / "state")
        losses = measure_losses(students, [prompt.text for prompt in parts.test])
        mean = float(np.nanmean(losses))
        found = dict.fromkeys(("loss", "oracle", "best_single"), mean) | {"information": 0.0}
    else:
        system = train_system(
            students, parts, mode, settings, encoder, pool=pool, folder=place / "state"
        )
        system.save(place)
        print(system.specialization.table(), flush=True)
        history, figures = system.history, system.specialization.to_dict()
        found = {name: figures[name] for name in ("loss", "oracle", "best_single", "information")}
    found |= {
        "effective": history.effective_experts(20),
        "trained": history.trained_tokens,
        "read": history.evaluated_tokens,
    }
    place.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(found) + "\n", "utf-8")
    return found


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Lay out the means over the seeds, with the spread of the loss."""
    lines = ["| arm | seeds | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 2) + "|"]
    for name, found in rows.items():
        values = {figure: np.array([row[figure] for row in found]) for figure in FIGURES}
        shown = [f"{values[figure].mean():.3f}" for figure in FIGURES[:4]]
        shown[0] += f" ± {values['loss'].std():.3f}"
        shown += [f"{values['effective'].mean():.1f}"]
        shown += [f"{values[figure].mean():,.0f}" for figure in FIGURES[5:]]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def read_parts(work: Path, limit: int) -> PromptSplits:
    """Read the prompts of each part: `limit` of a domain to learn from, a tenth for the others."""
    sys.path.insert(0, str(Path(__file__).parent / "paper"))
    from corpora import corpora

    found: dict[str, list[Prompt]] = {part: [] for part in PARTS}
    for corpus in corpora(work):
        for part, most in zip(PARTS, (limit, limit // 10, limit // 10), strict=True):
            texts = corpus.texts[part][:most]
            found[part] += [Prompt(text, category=corpus.name) for text in texts]
    return PromptSplits(*(tuple(found[part]) for part in PARTS))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".paper"), help="keeps the corpora")
    parser.add_argument("--out", type=Path, default=Path("build/cotraining"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tokens", type=float, default=600_000)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=2e-3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
