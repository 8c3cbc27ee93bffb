"""Set-up, once: convert a model, measure all models, train a router. The files are in .demo/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from aptitude import held_out, measure, read_prompts
from experts import load_models
from experts.smollm import convert
from rich.progress import track
from safetensors import safe_open
from tokenizers import Tokenizer

from tryage import Library, Router
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aptitude import Row
    from experts import LocalModel

    from tryage import QTable

WORK = Path(__file__).parents[2] / ".demo"


@dataclass(frozen=True)
class Demo:
    """The result of the set-up: the models, their router, and their measured losses."""

    models: Sequence[LocalModel]
    router: Router
    train: QTable
    held_out: QTable


def prepare(work: Path = WORK) -> Demo:
    """Do the missing steps of the set-up, with a progress bar."""
    torch.set_num_threads(1)  # such small models gain nothing from more
    work.mkdir(exist_ok=True)
    convert(work / "smollm2")
    models = load_models(work)
    prompts = read_prompts()
    table = measure(models, prompts, work / "measured.jsonl", _track)
    held = held_out(prompts)
    train = table.take(~held)
    perception = fit(train, _encoder(work), checkpoint=work / "training", progress=False)
    library = Library(model.expert for model in models)
    return Demo(models, Router(perception, library, prompt_flags=True), train, table.take(held))


def _track(rows: Iterable[Row], total: int) -> Iterable[Row]:
    description = "Measuring the models on the aptitude test"
    return track(rows, description, total) if total else rows


def _encoder(work: Path) -> StaticEncoder:
    """Return an encoder with the token table of SmolLM2, so that there is nothing to download."""
    with safe_open(work / "smollm2" / "model.safetensors", "numpy") as weights:
        rows = weights.get_tensor("model.embed_tokens.weight")
    tokenizer = Tokenizer.from_file(str(work / "smollm2" / "tokenizer.json"))
    return StaticEncoder.from_rows(rows, tokenizer)


if __name__ == "__main__":
    prepare()
