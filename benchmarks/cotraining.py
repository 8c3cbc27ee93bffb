"""Co-training compared with separate training at the same compute: a table and heat maps.

Run from the root of the repository, after installing the extra `train`:

    OMP_NUM_THREADS=1 python benchmarks/cotraining.py [--seeds 0 1] [--tokens 600000]

The prompts are the real corpora of `benchmarks/paper/corpora.py`, split by document. Every arm has
the same small masked experts (one arm has a single one) with the same first weights, the same
prompts in the same order, and the same compute: a token that is only evaluated counts a third of a
token that is trained on. The losses that the last router is fitted on are measured in the same way
in all arms and are not counted. Losses are on test documents, in nats per character. The same
command resumes a killed run.
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

from tryage.cli.options import resolve_encoder
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.modes import AtRandom, ByLabel, Decoupled, Joint
from tryage.learning.cotraining.pipeline import PromptSplits, train_system
from tryage.learning.cotraining.pretrain import train_tokenizer
from tryage.learning.cotraining.protocols import Mode, PromptPool, embed_pool
from tryage.learning.cotraining.specialization import measure_losses
from tryage.learning.cotraining.student import MaskedStudent
from tryage.scoring.measurement import Prompt

if TYPE_CHECKING:
    from tryage.perception.encoder import Encoder

PARTS = ("experts", "router", "test")
SINGLE = "one expert, all tokens"
FIGURES = ("loss", "oracle", "best_single", "information", "effective", "trained", "read")
MakeMode = Callable[[int, int], Mode]


def main() -> None:
    """Run every arm with every seed, and print the table."""
    options = parse_arguments()
    parts = read_parts(options.work, options.limit)
    encoder = resolve_encoder(None)
    texts = [prompt.text for prompt in parts.expert_train]
    pool = embed_pool(texts, encoder)
    tokenizer = train_tokenizer(
        texts[:: max(1, len(texts) // 1000)], options.vocabulary, progress=False
    )
    labels = [prompt.category or "" for prompt in parts.expert_train]
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for name, mode in modes(labels, seed).items():
            count = 1 if name == SINGLE else options.experts
            students = [
                MaskedStudent.new(
                    f"expert-{i + 1}",
                    tokenizer,
                    width=options.width,
                    layers=options.layers,
                    heads=2,
                    seed=100 * seed + i,
                    learning_rate=options.rate,
                )
                for i in range(count)
            ]
            config = CotrainConfig(options.tokens, batch=options.batch, seed=seed)
            folder = options.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            found = run_arm(students, parts, mode, config, encoder, pool, folder)
            rows.setdefault(name, []).append(found)
            print(table(rows), flush=True)


def modes(labels: list[str], seed: int) -> dict[str, MakeMode]:
    """Return the arms by name."""
    return {
        "decoupled": Decoupled,
        "joint": partial(Joint, seed=seed),
        "apart, by true domain": lambda n, _: ByLabel(labels, n),
        "apart, at random": lambda n, _: AtRandom(n),
        SINGLE: lambda n, _: AtRandom(n),
    }


def run_arm(  # noqa: PLR0913 - the parts of an arm
    students: list[MaskedStudent],
    parts: PromptSplits,
    mode: MakeMode,
    config: CotrainConfig,
    encoder: Encoder,
    pool: PromptPool,
    folder: Path,
) -> dict[str, float]:
    """Run one arm, or read its earlier figures."""
    result = folder / "figures.json"
    if result.exists():
        return dict(json.loads(result.read_text("utf-8")))
    print(f"== {folder.name}", flush=True)
    if len(students) == 1:
        history = cotrain(students, pool, mode(1, 0), config, folder=folder / "state")
        losses = measure_losses(students, [prompt.text for prompt in parts.test])
        mean = float(np.nanmean(losses))
        found = dict.fromkeys(("loss", "oracle", "best_single"), mean) | {"information": 0.0}
    else:
        system = train_system(
            students, parts, mode, config, encoder, pool=pool, folder=folder / "state"
        )
        system.save(folder)
        print(system.specialization.table(), flush=True)
        history, figures = system.history, system.specialization.to_dict()
        found = {name: figures[name] for name in ("loss", "oracle", "best_single", "information")}
    found |= {
        "effective": history.effective_experts(20),
        "trained": history.trained_tokens,
        "read": history.evaluated_tokens,
    }
    folder.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(found) + "\n", "utf-8")
    return found


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Write the means over the seeds, with the standard deviation of the loss."""
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
    """Read the prompts of each part: `limit` per domain to train on, a tenth for the others."""
    sys.path.insert(0, str(Path(__file__).parent / "paper"))
    from corpora import corpora

    found: dict[str, list[Prompt]] = {part: [] for part in PARTS}
    for corpus in corpora(work):
        for part, most in zip(PARTS, (limit, limit // 10, limit // 10), strict=True):
            texts = corpus.texts[part][:most]
            found[part] += [Prompt(text, category=corpus.name) for text in texts]
    return PromptSplits(*(tuple(found[part]) for part in PARTS))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path(".paper"), help="the folder of the corpora"
    )
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
