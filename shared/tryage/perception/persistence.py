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
from tryage.perception.abilities import Abilities, Gaussian, LogGapLink, LogitLink, SoftThreshold
from tryage.perception.encoder import Encoder, SavedEncoder, read_encoder_header
from tryage.perception.features import FeatureExtractor, FeatureScaler, TfidfSvd
from tryage.perception.head import ESTIMATOR_TYPES, CategoryClassifier, Head
from tryage.perception.metadata_prior import MetadataPrior, MetadataScaler
from tryage.perception.migration import migrate_perception
from tryage.perception.model import LearnedPerception, ObservedExperts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import UnionType

    FieldTypes = Mapping[str, type | tuple[type, ...]]

FORMAT = 2

# sums of numbers of very different size, and USD of which a millionth must not become free
_FLOAT32_PREFIXES = ("abilities.covariances", "forecasts.")

_UNROUNDED_PREFIXES = (
    "metadata_prior.",
    "observed_experts.",
)  # small, and learned further from where they are

_MIN_ROUNDED_SIZE = 4_096  # numbers; halving fewer saves nothing

_MAX_RELATIVE_ERROR = 1e-3  # of the greatest number; half precision rounds to half of it

HEADER_FILE, WEIGHTS_FILE = "perception.json", "perception.safetensors"

_SAVED_CLASSES = (
    *(
        *ESTIMATOR_TYPES,
        Head,
        CategoryClassifier,
        FeatureExtractor,
        FeatureScaler,
        TfidfSvd,
        Abilities,
        Gaussian,
        SoftThreshold,
    ),
    *(LogitLink, LogGapLink, MetadataPrior, MetadataScaler, ObservedExperts),
)

_HEADER_FIELDS = {"format": int, "experts": list, "report": dict}

_REQUIRED_PARTS: dict[str, type | UnionType] = {
    "feature_extractor": FeatureExtractor,
    "head": Head,
    "abilities": Abilities,
    "soft_threshold": SoftThreshold,
    "link": LogitLink | LogGapLink,
}

# what files of before there was a prior from traits lack
_OPTIONAL_PARTS: dict[str, type] = {
    "metadata_prior": MetadataPrior,
    "observed_experts": ObservedExperts,
}

ArrayDict = dict[str, NDArray[Any]]

_MISSING = object()  # None is a value of its own


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
    arrays: ArrayDict = {}
    parts = {
        name: serialize(getattr(perception, name), name, arrays)
        for name in (*_REQUIRED_PARTS, *_OPTIONAL_PARTS)
    }
    arrays |= {f"forecasts.{name}": table for name, table in perception.forecasts.items()}
    stored = {
        name: np.ascontiguousarray(_round_for_storage(name, array))
        for name, array in arrays.items()
    }
    (folder / WEIGHTS_FILE).write_bytes(save(stored))  # save_file would leave it to its owner alone
    header = {
        "format": FORMAT,
        "experts": perception.experts,
        "report": dict(perception.report),
        **parts,
    }
    (folder / HEADER_FILE).write_text(json.dumps(header, indent=1) + "\n", "utf-8")
    if encoder:
        perception.encoder.save(folder / "encoder")


def load_perception(folder: Path, *, encoder: Path | None = None) -> LearnedPerception:
    """Read what `save_perception` wrote; `encoder` says where the encoder is, if elsewhere.

    Raises:
        PersistenceError: a file is missing, damaged or from a newer version.
    """
    header = read_header(folder / HEADER_FILE, "perception", FORMAT, _HEADER_FIELDS)
    if header["format"] < FORMAT:
        header = migrate_perception(header)
    try:
        arrays = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise PersistenceError(f"{folder} holds no readable perception: {error}") from error
    upcast = {name: _upcast(array) for name, array in arrays.items()}
    parts = [_load_part(folder, header, name, upcast) for name in _REQUIRED_PARTS]
    later = {
        name: _load_part(folder, header, name, upcast) for name in _OPTIONAL_PARTS if name in header
    }
    forecasts = {
        name.removeprefix("forecasts."): table
        for name, table in upcast.items()
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
        raise PersistenceError(f"{folder / HEADER_FILE} is damaged: {error}") from error


def _load_part(folder: Path, header: Mapping[str, Any], name: str, arrays: ArrayDict) -> Any:  # noqa: ANN401 - of the type that _PARTS names
    part = deserialize(header.get(name), arrays, _SAVED_CLASSES)
    if not isinstance(part, (_REQUIRED_PARTS | _OPTIONAL_PARTS)[name]):
        raise PersistenceError(
            f"{folder / HEADER_FILE} is damaged: {name!r} is a {type(part).__name__}; "
            "save the perception again"
        )
    return part


def _round_for_storage(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if name.startswith(_UNROUNDED_PREFIXES):
        return array
    return _to_float32(array) if name.startswith(_FLOAT32_PREFIXES) else _to_float16(array)


def _to_float16(array: NDArray[Any]) -> NDArray[Any]:
    """Halve a big array, unless its numbers are too large or too small for half precision."""
    if array.dtype not in (np.float32, np.float64) or array.size <= _MIN_ROUNDED_SIZE:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    exact = np.abs(half - array).max() <= _MAX_RELATIVE_ERROR * np.abs(array).max()
    return half if exact else _to_float32(array)


def _to_float32(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.size > _MIN_ROUNDED_SIZE else array


def _upcast(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def serialize(value: object, name: str, arrays: ArrayDict) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` as JSON, its arrays moved to `arrays`; a shared array is stored once."""
    if isinstance(value, np.ndarray):
        for key, known in arrays.items():
            if known is value:
                return {"array": key}
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value):
        inner = {
            f.name: serialize(getattr(value, f.name), f"{name}.{f.name}", arrays)
            for f in fields(value)
        }
        return {"kind": type(value).__name__, **inner}
    if isinstance(value, tuple):
        return [serialize(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    return value


def deserialize(data: Any, arrays: Mapping[str, NDArray[Any]], classes: Iterable[type]) -> Any:  # noqa: ANN401 - the inverse of pack
    """Build what `pack` took apart; only dataclasses among `kinds` are built.

    Raises:
        PersistenceError: an array or a kind is missing, or nothing was packed.
    """
    known = {kind.__name__: kind for kind in classes}

    def build(part: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(part, list):
            return tuple(build(item) for item in part)
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return arrays[part["array"]]
        return known[part["kind"]](**{key: build(v) for key, v in part.items() if key != "kind"})

    if not isinstance(data, dict):
        raise PersistenceError(f"the saved perception is damaged: a part of it is {data!r:.40}")
    try:
        return build(data)
    except (KeyError, TypeError) as error:
        raise PersistenceError(f"the saved perception is damaged: {error} is missing") from error


def read_header(path: Path, artifact: str, max_format: int, fields: FieldTypes) -> dict[str, Any]:
    """Read the header of `what`, a router or a perception, and check its `fields`.

    Raises:
        PersistenceError: it is missing, no JSON, of a format above `newest`, or lacks a field.
    """
    try:
        header = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PersistenceError(f"{path.parent} holds no readable {artifact}: {error}") from error
    found = header if isinstance(header, dict) else {}
    version = found.get("format")
    if isinstance(version, int) and version > max_format:
        raise PersistenceError(
            f"{path} is of a newer format than {max_format}: upgrade with pip install -U tryage"
        )
    for name, kind in fields.items():
        if not isinstance(found.get(name, _MISSING), kind):
            raise PersistenceError(
                f"{path} is damaged: it has no {name!r}; save the {artifact} again"
            )
    return found
