"""A perception as a folder: `perception.json`, `perception.safetensors` and its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import PerceptionError, PersistenceError
from tryage.perception.abilities import Abilities, Gaussian, LogGapLink, LogitLink, SoftThreshold
from tryage.perception.encoder import StaticEncoder, read_encoder_header
from tryage.perception.features import ChoiceScaler, FeatureExtractor, FeatureScaler, TfidfSvd
from tryage.perception.head import (
    CategoryClassifier,
    CategoryMeans,
    Head,
    KernelRegression,
    RidgeRegression,
    ZeroEstimator,
)
from tryage.perception.metadata_prior import MetadataPrior, MetadataScaler
from tryage.perception.migration import migrate_perception
from tryage.perception.model import LearnedPerception
from tryage.perception.serialization import (
    deserialize,
    read_arrays,
    read_header,
    serialize,
    write_arrays,
    write_header,
)
from tryage.perception.transformer import TransformerEncoder
from tryage.perception.unmeasured import ObservedExperts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import UnionType

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.perception.serialization import ArrayDict

FORMAT = 2

HEADER_FILE, WEIGHTS_FILE, ENCODER_FOLDER = "perception.json", "perception.safetensors", "encoder"

_HEADER_FIELDS = {"format": int, "experts": list, "report": dict}

# Keys of the header, attributes of LearnedPerception and arguments of its constructor.
_REQUIRED_PARTS: dict[str, type | UnionType] = {
    "feature_extractor": FeatureExtractor,
    "head": Head,
    "abilities": Abilities,
    "soft_threshold": SoftThreshold,
    "link": LogitLink | LogGapLink,
}

# Files that are older than the prior from metadata lack these two.
_OPTIONAL_PARTS: dict[str, type] = {
    "metadata_prior": MetadataPrior,
    "observed_experts": ObservedExperts,
}

_FORECAST_PREFIX = "forecasts."

_SAVED_CLASSES: tuple[type, ...] = (
    *(FeatureExtractor, TfidfSvd, FeatureScaler, ChoiceScaler),
    *(Head, CategoryClassifier),
    *(ZeroEstimator, CategoryMeans, KernelRegression, RidgeRegression),
    *(Abilities, Gaussian, SoftThreshold, LogitLink, LogGapLink),
    *(MetadataPrior, MetadataScaler, ObservedExperts),
)

# Sums of numbers of very different size, and USD: a millionth of a dollar must not become zero.
_FLOAT32_PREFIXES = ("abilities.covariances", _FORECAST_PREFIX)

# Small, and learning continues from these numbers.
_UNROUNDED_PREFIXES = ("metadata_prior.", "observed_experts.")

_MIN_ROUNDED_SIZE = 4_096  # numbers; rounding fewer saves nothing

_MAX_RELATIVE_ERROR = 1e-3  # of the greatest number; half precision has errors of half of that

_ENCODER_CLASSES: dict[str, type[StaticEncoder | TransformerEncoder]] = {
    StaticEncoder.KIND: StaticEncoder,
    TransformerEncoder.KIND: TransformerEncoder,
}


def save_perception(perception: LearnedPerception, folder: Path) -> None:
    """Write a perception; big arrays are rounded, which changes no decision that matters."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: ArrayDict = {}
    parts = {
        name: serialize(getattr(perception, name), name, arrays)
        for name in (*_REQUIRED_PARTS, *_OPTIONAL_PARTS)
    }
    arrays |= {_FORECAST_PREFIX + name: table for name, table in perception.forecasts.items()}
    rounded_arrays = {name: _round_for_storage(name, array) for name, array in arrays.items()}
    write_arrays(folder / WEIGHTS_FILE, rounded_arrays)
    header = {"format": FORMAT, "experts": perception.experts, "report": perception.report}
    write_header(folder / HEADER_FILE, header | parts)
    perception.encoder.save(folder / ENCODER_FOLDER)


def load_perception(folder: Path) -> LearnedPerception:
    """Read what `save_perception` wrote, of this format or an earlier one.

    Raises:
        PersistenceError: a file is missing, damaged or from a newer version.
    """
    header = read_header(folder / HEADER_FILE, "perception", FORMAT, _HEADER_FIELDS)
    saved_arrays = read_arrays(folder / WEIGHTS_FILE, "perception")
    arrays = {name: _upcast(array) for name, array in saved_arrays.items()}
    if header["format"] < FORMAT:
        header, arrays = migrate_perception(header, arrays)
    names = [*_REQUIRED_PARTS, *(name for name in _OPTIONAL_PARTS if name in header)]
    parts = {name: _load_part(folder, header, name, arrays) for name in names}
    forecasts = {
        name.removeprefix(_FORECAST_PREFIX): table
        for name, table in arrays.items()
        if name.startswith(_FORECAST_PREFIX)
    }
    encoder = load_encoder(folder / ENCODER_FOLDER)
    try:
        return LearnedPerception(
            header["experts"], encoder, **parts, forecasts=forecasts, report=header["report"]
        )
    except PerceptionError as error:
        raise PersistenceError(f"{folder / HEADER_FILE} is damaged: {error}") from error


def load_encoder(folder: str | Path) -> Encoder:
    """Read an encoder that `Encoder.save` wrote.

    Raises:
        PersistenceError: the folder holds no encoder, a damaged one, or one of an unknown kind.
    """
    folder = Path(folder)
    kind = read_encoder_header(folder, {"kind": str})["kind"]
    if kind not in _ENCODER_CLASSES:
        known_kinds = ", ".join(_ENCODER_CLASSES)
        raise PersistenceError(
            f"{folder} holds an encoder of kind {kind!r}; known kinds: {known_kinds}"
        )
    return _ENCODER_CLASSES[kind].load(folder)


def _load_part(folder: Path, header: Mapping[str, Any], name: str, arrays: ArrayDict) -> Any:  # noqa: ANN401 - of the class that the two tables of parts name
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
    """Store a big array in half precision, unless its numbers are too large or small for that."""
    if array.dtype not in (np.float32, np.float64) or array.size <= _MIN_ROUNDED_SIZE:
        return array
    with np.errstate(over="ignore"):
        rounded_array = array.astype(np.float16)
    is_close = np.abs(rounded_array - array).max() <= _MAX_RELATIVE_ERROR * np.abs(array).max()
    return rounded_array if is_close else _to_float32(array)


def _to_float32(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.size > _MIN_ROUNDED_SIZE else array


def _upcast(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array
