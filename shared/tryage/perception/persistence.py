"""A perception as a folder: `perception.json`, `perception.safetensors` and its encoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import PerceptionError, PersistenceError
from tryage.perception.abilities import Abilities, Gaussian
from tryage.perception.acquaintance import Acquaintances
from tryage.perception.categories import Categories
from tryage.perception.caution import Caution
from tryage.perception.encoder import load_encoder
from tryage.perception.features import Features, Form
from tryage.perception.head import KINDS, Head
from tryage.perception.headers import read_header
from tryage.perception.kinship import Kinship, Scale
from tryage.perception.learned import LearnedPerception
from tryage.perception.lexicon import Lexicon
from tryage.perception.link import Scored
from tryage.perception.packing import Arrays, pack, unpack
from tryage.perception.squeeze import Squeezed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import UnionType

    from numpy.typing import NDArray

FORMAT = 1
# sums of numbers of very different size, and USD of which a millionth must not become free
_WIDE = ("abilities.covariances", "forecasts.")
_EXACT = ("kinship.", "acquaintances.")  # small, and learned further from where they are
_SMALL = 4_096  # numbers; halving fewer saves nothing
_ROUNDING = 1e-3  # of the greatest number; half precision rounds to half of it
HEADER, WEIGHTS = "perception.json", "perception.safetensors"
_KINDS = (
    *(*KINDS, Head, Categories, Features, Form, Lexicon, Abilities, Gaussian, Caution),
    *(Scored, Squeezed, Kinship, Scale, Acquaintances),
)
_FIELDS = {"format": int, "experts": list, "report": dict}
_PARTS: dict[str, type | UnionType] = {
    "features": Features,
    "head": Head,
    "abilities": Abilities,
    "caution": Caution,
    "link": Scored | Squeezed,
}
# what files of before there was a prior from traits lack
_LATER: dict[str, type] = {"kinship": Kinship, "acquaintances": Acquaintances}


def save_perception(perception: LearnedPerception, folder: Path, *, encoder: bool = True) -> None:
    """Write a perception; big arrays go in half precision, which changes no decision that matters.

    With `encoder` false the encoder is left out: the caller keeps it elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    parts = {name: pack(getattr(perception, name), name, arrays) for name in (*_PARTS, *_LATER)}
    arrays |= {f"forecasts.{name}": table for name, table in perception.forecasts.items()}
    stored = {name: np.ascontiguousarray(_rounded(name, array)) for name, array in arrays.items()}
    (folder / WEIGHTS).write_bytes(save(stored))  # save_file would leave it to its owner alone
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
    header = read_header(folder / HEADER, "perception", FORMAT, _FIELDS)
    try:
        arrays = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise PersistenceError(f"{folder} holds no readable perception: {error}") from error
    whole = {name: _whole(array) for name, array in arrays.items()}
    parts = [_part(folder, header, name, whole) for name in _PARTS]
    later = {name: _part(folder, header, name, whole) for name in _LATER if name in header}
    forecasts = {
        name.removeprefix("forecasts."): table
        for name, table in whole.items()
        if name.startswith("forecasts.")
    }
    read = load_encoder(encoder or folder / "encoder")
    try:
        return LearnedPerception(
            header["experts"],
            read,
            *parts,
            **later,
            forecasts=forecasts,
            report=header["report"],
        )
    except PerceptionError as error:
        raise PersistenceError(f"{folder / HEADER} is damaged: {error}") from error


def _part(folder: Path, header: Mapping[str, Any], name: str, arrays: Arrays) -> Any:  # noqa: ANN401 - of the type that _PARTS names
    part = unpack(_renamed(header.get(name)), arrays, _KINDS)
    if not isinstance(part, (_PARTS | _LATER)[name]):
        raise PersistenceError(
            f"{folder / HEADER} is damaged: {name!r} is a {type(part).__name__}; "
            "save the perception again"
        )
    return part


def _renamed(packed: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Read the link of scores as version 0.1.0 wrote it; that of real-valued losses is another."""
    if not isinstance(packed, dict) or packed.get("kind") != "Link":
        return packed
    if not packed.pop("scored", False):
        raise PersistenceError(
            "this router of real-valued losses was saved by version 0.1.0, which learned them in "
            "another way; train it again"
        )
    return packed | {"kind": Scored.__name__}


def _rounded(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if name.startswith(_EXACT):
        return array
    return _single(array) if name.startswith(_WIDE) else _halved(array)


def _halved(array: NDArray[Any]) -> NDArray[Any]:
    """Halve a big array, unless its numbers are too large or too small for half precision."""
    if array.dtype not in (np.float32, np.float64) or array.size <= _SMALL:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    exact = np.abs(half - array).max() <= _ROUNDING * np.abs(array).max()
    return half if exact else _single(array)


def _single(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.size > _SMALL else array


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array
