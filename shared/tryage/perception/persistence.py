"""A perception as a folder: `perception.json`, `perception.safetensors` and its encoder."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import PerceptionError, PersistenceError
from tryage.perception.abilities import Abilities, Caution, Gaussian, Scored, Squeezed
from tryage.perception.encoder import Encoder, SavedEncoder, read_encoder_header
from tryage.perception.features import Features, Form, Lexicon
from tryage.perception.head import KINDS, Categories, Head
from tryage.perception.metadata_prior import Kinship, Scale
from tryage.perception.model import Acquaintances, LearnedPerception

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import UnionType

    Fields = Mapping[str, type | tuple[type, ...]]

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

Arrays = dict[str, NDArray[Any]]

_ABSENT = object()  # None is a value of its own


def load_encoder(folder: str | Path, kinds: Sequence[type[SavedEncoder]] = ()) -> Encoder:
    """Read a saved encoder back; `kinds` are your own encoder classes, besides the two of Tryage.

    Raises:
        PersistenceError: the folder holds no encoder, a damaged one, or one of an unknown kind.

    """
    from tryage.perception.encoder import StaticEncoder
    from tryage.perception.transformer import TransformerEncoder

    folder = Path(folder)
    kind = read_encoder_header(folder)["kind"]
    known: list[type[SavedEncoder]] = [*kinds, StaticEncoder, TransformerEncoder]
    for candidate in known:
        if kind == candidate.KIND:
            return candidate.load(folder)
    names = ", ".join(c.KIND for c in known)
    raise PersistenceError(f"{folder} holds an encoder of kind {kind!r}; known kinds: {names}")


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


def pack(value: object, name: str, arrays: Arrays) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` as JSON, its arrays moved to `arrays`; a shared array is stored once."""
    if isinstance(value, np.ndarray):
        for key, known in arrays.items():
            if known is value:
                return {"array": key}
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value):
        inner = {
            f.name: pack(getattr(value, f.name), f"{name}.{f.name}", arrays) for f in fields(value)
        }
        return {"kind": type(value).__name__, **inner}
    if isinstance(value, tuple):
        return [pack(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    return value


def unpack(packed: Any, arrays: Mapping[str, NDArray[Any]], kinds: Iterable[type]) -> Any:  # noqa: ANN401 - the inverse of pack
    """Build what `pack` took apart; only dataclasses among `kinds` are built.

    Raises:
        PersistenceError: an array or a kind is missing, or nothing was packed.
    """
    known = {kind.__name__: kind for kind in kinds}

    def build(part: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(part, list):
            return tuple(build(item) for item in part)
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return arrays[part["array"]]
        return known[part["kind"]](**{key: build(v) for key, v in part.items() if key != "kind"})

    if not isinstance(packed, dict):
        raise PersistenceError(f"the saved perception is damaged: a part of it is {packed!r:.40}")
    try:
        return build(packed)
    except (KeyError, TypeError) as error:
        raise PersistenceError(f"the saved perception is damaged: {error} is missing") from error


def read_header(path: Path, what: str, newest: int, fields: Fields) -> dict[str, Any]:
    """Read the header of `what`, a router or a perception, and check its `fields`.

    Raises:
        PersistenceError: it is missing, no JSON, of a format above `newest`, or lacks a field.
    """
    try:
        header = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PersistenceError(f"{path.parent} holds no readable {what}: {error}") from error
    found = header if isinstance(header, dict) else {}
    version = found.get("format")
    if isinstance(version, int) and version > newest:
        raise PersistenceError(
            f"{path} is of a newer format than {newest}: upgrade with pip install -U tryage"
        )
    for name, kind in fields.items():
        if not isinstance(found.get(name, _ABSENT), kind):
            raise PersistenceError(f"{path} is damaged: it has no {name!r}; save the {what} again")
    return found
