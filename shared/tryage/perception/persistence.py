"""A perception as a folder: `perception.json`, `perception.safetensors` and its encoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import PersistenceError
from tryage.perception.abilities import Abilities, Gaussian
from tryage.perception.categories import Categories
from tryage.perception.caution import Caution
from tryage.perception.encoder import load_encoder
from tryage.perception.features import Features, Form
from tryage.perception.head import KINDS, Head
from tryage.perception.learned import LearnedPerception
from tryage.perception.lexicon import Lexicon
from tryage.perception.link import Link
from tryage.perception.packing import Arrays, pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
HEADER, WEIGHTS = "perception.json", "perception.safetensors"
_KINDS = (*KINDS, Head, Categories, Features, Form, Lexicon, Abilities, Gaussian, Caution, Link)
_PARTS = ("features", "head", "abilities", "caution", "link")


def save_perception(perception: LearnedPerception, folder: Path, *, encoder: bool = True) -> None:
    """Write a perception; big arrays go in half precision, which changes no decision that matters.

    With `encoder` false the encoder is left out: the caller keeps it elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    parts = {name: pack(getattr(perception, name), name, arrays) for name in _PARTS}
    arrays |= {f"forecasts.{name}": table for name, table in perception.forecasts.items()}
    halved = {name: np.ascontiguousarray(_halved(array)) for name, array in arrays.items()}
    (folder / WEIGHTS).write_bytes(save(halved))  # save_file would leave it to its owner alone
    header = {
        "format": FORMAT,
        "experts": perception.experts,
        "report": dict(perception.report),
        **parts,
    }
    (folder / HEADER).write_text(json.dumps(header, indent=1) + "\n", "utf-8")
    if encoder:
        perception.encoder.save(folder / "encoder")


def load_perception(folder: Path, *, encoder: Path | None = None) -> LearnedPerception:
    """Read what `save_perception` wrote; `encoder` says where the encoder is, if elsewhere.

    Raises:
        PersistenceError: a file is missing, damaged or from a newer version.
    """
    try:
        header = json.loads((folder / HEADER).read_text("utf-8"))
        arrays = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise PersistenceError(f"{folder} holds no readable perception: {error}") from error
    if not isinstance(header, dict) or header.get("format", 0) > FORMAT:
        raise PersistenceError(
            f"{folder} holds a perception of a newer format than {FORMAT}: "
            "upgrade with pip install -U tryage"
        )
    whole = {name: _whole(array) for name, array in arrays.items()}
    parts = [unpack(header.get(name), whole, _KINDS) for name in _PARTS]
    forecasts = {
        name.removeprefix("forecasts."): table
        for name, table in whole.items()
        if name.startswith("forecasts.")
    }
    read = load_encoder(encoder or folder / "encoder")
    return LearnedPerception(
        header["experts"], read, *parts, forecasts=forecasts, report=header["report"]
    )


def _halved(array: np.ndarray) -> np.ndarray:
    wide = array.dtype in (np.float32, np.float64) and array.size > 4_096

    return array.astype(np.float16) if wide else array


def _whole(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array
