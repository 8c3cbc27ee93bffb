"""A perception as a folder: `perception.json`, `perception.safetensors` and its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.perception import SecondStage
from tryage.core.uncertainty import LEVELS, UncertaintyCalibration
from tryage.errors import InputError, PerceptionError, PersistenceError
from tryage.perception.abilities import Abilities, Gaussian, LogGapLink, LogitLink, SoftThreshold
from tryage.perception.encoder import StaticEncoder, read_encoder_header
from tryage.perception.features import (
    CHOICE_PRODUCTS_WIDTH,
    PAIRED_WIDTH,
    SURFACE_WIDTH,
    TOOL_SCHEMA_WIDTH,
    BlockScaler,
    ChoiceScaler,
    FeatureExtractor,
    FeatureScaler,
    TfidfSvd,
)
from tryage.perception.field_rules import (
    MAX_MAGNITUDE,
    MIN_POSITIVE,
    Array,
    Either,
    Index,
    Interval,
    Names,
    Number,
    Part,
    Parts,
    Size,
    Sizes,
    check_field,
    is_number,
    show,
)
from tryage.perception.head import (
    CategoryClassifier,
    CategoryMeans,
    Head,
    KernelRegression,
    RidgeRegression,
    ZeroEstimator,
)
from tryage.perception.hidden_state import HiddenStateEncoder
from tryage.perception.metadata import BINARY_FEATURES
from tryage.perception.metadata_prior import MetadataPrior, MetadataScaler
from tryage.perception.migration import migrate_perception
from tryage.perception.model import LearnedPerception
from tryage.perception.pretrained_features import PretrainedFeatures
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

    from numpy.typing import NDArray

    from tryage.core.perception import Perception
    from tryage.perception.encoder import Encoder
    from tryage.perception.field_rules import Dimension, FieldRules
    from tryage.perception.serialization import ArrayDict

FORMAT = 3  # 2 has no block scaler, no features of a pretrained router and no uncertainty

_CURRENT_NAMES_FORMAT = 2  # the first with the names of today

HEADER_FILE, WEIGHTS_FILE, ENCODER_FOLDER = "perception.json", "perception.safetensors", "encoder"

_HEADER_FIELDS = {"format": int, "experts": list, "report": dict}

# Keys of the header, attributes of LearnedPerception and arguments of its constructor.
_REQUIRED_PARTS = {
    "feature_extractor": Part(FeatureExtractor),
    "head": Part(Head),
    "abilities": Part(Abilities),
    "soft_threshold": Part(SoftThreshold),
    "link": Part(LogitLink, LogGapLink),
}

# Older files lack some of these.
_OPTIONAL_PARTS = {
    "metadata_prior": Part(MetadataPrior),
    "observed_experts": Part(ObservedExperts),
    "uncertainty": Either(Part(UncertaintyCalibration), or_none=True),
}

_SECOND_STAGE = "second_stage"  # its key in the header and its folder; few perceptions have one
_SECOND_STAGE_FIELDS = {
    "seconds": float,
    "prices": list,
    "thresholds": list,
    "loss_per_second": float,
}

_FORECAST_PREFIX = "forecasts."
_FORECAST = Array("categories", "experts", allow_nan=True)

# Words, options, a function and a sign that few tokenizers know: it has features of all kinds.
_PROBE = 'Which number is 2 + 2? \u2603\n[{"name": "add", "type": "function"}]\nA. three\nB. four'

_MAX_TOKEN_ID = 2**24  # far above any vocabulary; TfidfSvd makes a list of all tokens up to it
_POSITION = ("rank", 1)  # the size of [1, g(phi(z))]
_EFFECT = ("groups", 1 + len(BINARY_FEATURES))
_COEFFICIENT = ("numbers", "groups", 2 + len(BINARY_FEATURES))

_NONEMPTY = (
    "blocks",
    "block",
    "components",
    "experts",
    "categories",
    "prototypes",
    "estimators",
    "knots",
    "embedding",
)


def _covariances(*dimensions: Dimension) -> Array:
    return Array(*dimensions, low=-(MAX_MAGNITUDE**2), high=MAX_MAGNITUDE**2)


def _scaler(width: int) -> Part:
    return Part(FeatureScaler, mean=Array(width), std=Array(width, high=np.inf))


# What the fields of saved classes may hold; a class without a line here is never built.
FIELD_RULES: FieldRules = {
    FeatureExtractor: {
        "tfidf": Part(TfidfSvd),
        "surface_scaler": _scaler(SURFACE_WIDTH),
        "tool_schema_scaler": _scaler(TOOL_SCHEMA_WIDTH),
        "choice_scaler": Either(Part(ChoiceScaler), or_none=True),
        "block_scaler": Either(Part(BlockScaler), or_none=True),
        "pretrained": Either(Part(PretrainedFeatures), or_none=True),
        "own_tfidf": Either(Part(TfidfSvd), or_none=True),
    },
    BlockScaler: {
        "mean": Array("embedding"),
        "std": Array("embedding", low=MIN_POSITIVE, high=np.inf),  # infinite if it does not vary
        "projections": Array("blocks", "block", "components"),
    },
    PretrainedFeatures: {
        "category_slope": Array("pretrained_inputs", "pretrained_categories"),
        "category_intercept": Array("pretrained_categories"),
        "slope": Array("pretrained_inputs", "pretrained_rank"),
        "probability_slope": Array("pretrained_categories", "pretrained_rank"),
        "intercept": Array("pretrained_rank"),
    },
    TfidfSvd: {
        "token_ids": Array(None, kind=np.int32, low=0, high=_MAX_TOKEN_ID, increasing=True),
        "idf": Array(None),
        "projection": Array(None, None),
    },
    FeatureScaler: {
        "mean": Array(None),
        "std": Array(None, low=MIN_POSITIVE, high=np.inf),  # infinite if it does not count
        "scale": Number(),
    },
    ChoiceScaler: {
        "pair_mean": Array(PAIRED_WIDTH),
        "pair_std": Array(PAIRED_WIDTH, low=MIN_POSITIVE),
        "scaler": _scaler(CHOICE_PRODUCTS_WIDTH),
    },
    Head: {
        "category_classifier": Part(CategoryClassifier),
        # The first routers that started from a pretrained one compared all features.
        "prototypes": Either(
            Array("prototypes", "compared_features"), Array("prototypes", "features")
        ),
        "estimators": Parts(
            "estimators", ZeroEstimator, CategoryMeans, KernelRegression, RidgeRegression
        ),
        "weights": Array("estimators"),
        "gain": Array("rank"),
    },
    CategoryClassifier: {
        "names": Names("categories"),
        "slope": Array("features", "categories"),
        "intercept": Array("categories"),
    },
    ZeroEstimator: {"rank": Size("rank")},
    CategoryMeans: {"positions": Array("categories", "rank")},
    KernelRegression: {
        "positions": Array("prototypes", "rank"),
        "counts": Array("prototypes", low=MIN_POSITIVE),
        "bandwidth": Number(low=MIN_POSITIVE),
        "shrinkage": Number(low=0),
        "base": Either(Part(CategoryMeans), or_none=True),
    },
    RidgeRegression: {
        "slope": Array("features", "rank"),
        "category_slope": Array("categories", "rank"),
        "intercept": Array("rank"),
    },
    Abilities: {
        "means": Array("experts", _POSITION),
        "covariances": _covariances("experts", _POSITION, _POSITION),
        "prior": Part(Gaussian),
        "noise": Number(low=MIN_POSITIVE, high=MAX_MAGNITUDE**2),
    },
    Gaussian: {"mean": Array(_POSITION), "covariance": _covariances(_POSITION, _POSITION)},
    SoftThreshold: {"incumbent": Index("experts"), "margin": Number()},
    LogitLink: {"intercept": Number(), "slope": Number()},
    LogGapLink: {
        "scale": Number(low=MIN_POSITIVE),
        "knots_x": Array("knots", increasing=True, high=1e3 * MAX_MAGNITUDE),
        "knots_y": Array("knots", high=1e3 * MAX_MAGNITUDE),
        "loss_range": Either(Interval(), or_none=True),
        "slope_width": Number(low=0),
    },
    MetadataPrior: {
        "scaler": Part(MetadataScaler),
        "groups": Names("groups"),
        "group_frequencies": Array("groups"),
        "slopes": Array(("numbers", 1), _POSITION),
        "effects": Array(_EFFECT, _POSITION),
        "coefficient_covariance": Array(_COEFFICIENT, _COEFFICIENT),
        "residual_covariance": _covariances(_POSITION, _POSITION),
        "unseen_group_variances": Array(3),
        "missing_value_covariance": Array("numbers", "numbers"),
        "number_correlation": Either(Array("numbers", "numbers"), or_none=True),
    },
    MetadataScaler: {
        "mean": Array("numbers"),
        "std": Array("numbers", low=MIN_POSITIVE, high=np.inf),  # infinite if it does not vary
        "lower": Array("numbers"),
        "upper": Array("numbers"),
    },
    ObservedExperts: {"names": Names("experts"), "abilities": Part(Abilities)},
    UncertaintyCalibration: {
        "disagreement_scale": Number(low=0),
        "unfamiliar_std": Number(low=0),
        "similarities": Array("unseen_prompts"),
        "loss_knots": Array("loss_knots", increasing=True),
        "outcome_stds": Array("loss_knots", low=MIN_POSITIVE),
        "answer_quantiles": Array(len(LEVELS), low=0),
        "mean_quantiles": Array(len(LEVELS), low=0),
        "typical_std": Number(low=0),
        "odds_slope": Number(low=0),
        "odds_intercept": Number(low=0),
        "loss_range": Either(Interval(), or_none=True),
        "min_std": Number(low=0),
    },
}

# Sums of numbers of very different size, and USD: a millionth of a dollar must not become zero.
_FLOAT32_PREFIXES = (
    "abilities.covariances",
    "feature_extractor.block_scaler.mean",
    "feature_extractor.block_scaler.std",
    _FORECAST_PREFIX,
)

# Small, and learning continues from these numbers.
_UNROUNDED_PREFIXES = ("metadata_prior.", "observed_experts.", "uncertainty.")

_MIN_ROUNDED_SIZE = 4_096  # numbers; rounding fewer saves nothing

_MAX_RELATIVE_ERROR = 1e-3  # of the greatest number; half precision has errors of half of that

_ENCODER_CLASSES: dict[str, type[StaticEncoder | TransformerEncoder | HiddenStateEncoder]] = {
    StaticEncoder.KIND: StaticEncoder,
    TransformerEncoder.KIND: TransformerEncoder,
    HiddenStateEncoder.KIND: HiddenStateEncoder,
}


def save_perception(perception: LearnedPerception, folder: Path) -> None:
    """Write a perception; big arrays are rounded, which changes no decision that matters."""
    folder.mkdir(parents=True, exist_ok=True)
    perception = perception.copy()  # other threads may learn meanwhile
    arrays: ArrayDict = {}
    parts = {
        name: serialize(getattr(perception, name), name, arrays)
        for name in (*_REQUIRED_PARTS, *_OPTIONAL_PARTS)
    }
    arrays |= {_FORECAST_PREFIX + name: table for name, table in perception.forecasts.items()}
    rounded_arrays = {name: _round_for_storage(name, array) for name, array in arrays.items()}
    write_arrays(folder / WEIGHTS_FILE, rounded_arrays)
    header = {"format": FORMAT, "experts": perception.experts, "report": perception.report}
    if (stage := perception.second_stage) is not None:
        parts[_SECOND_STAGE] = {name: getattr(stage, name) for name in _SECOND_STAGE_FIELDS}
        _save_second_perception(stage.perception, folder / _SECOND_STAGE)
    write_header(folder / HEADER_FILE, header | parts)
    perception.encoder.save(folder / ENCODER_FOLDER)


def _save_second_perception(perception: Perception, folder: Path) -> None:
    if not isinstance(perception, LearnedPerception):
        raise PersistenceError(
            f"a second stage of {type(perception).__name__} cannot be saved; expected a perception "
            "from tryage.learning.training"
        )
    save_perception(perception, folder)


def load_perception(folder: Path) -> LearnedPerception:
    """Read what `save_perception` wrote, of this format or an earlier one.

    Raises:
        PersistenceError: a file is missing, damaged or from a newer version.
    """
    header = read_header(folder / HEADER_FILE, "perception", FORMAT, _HEADER_FIELDS)
    saved_arrays = read_arrays(folder / WEIGHTS_FILE, "perception")
    arrays = {name: _upcast(array) for name, array in saved_arrays.items()}
    encoder = load_encoder(folder / ENCODER_FOLDER)
    try:
        if header["format"] < _CURRENT_NAMES_FORMAT:
            header, arrays = migrate_perception(header, arrays)
        perception = _build_perception(header, arrays, encoder)
        perception.second_stage = _load_second_stage(header, folder, perception.experts)
    except (InputError, PerceptionError, RecursionError) as error:
        raise PersistenceError(f"{folder / HEADER_FILE} is damaged: {error}") from error
    _check_prediction(perception, folder)
    return perception


def _load_second_stage(
    header: Mapping[str, Any], folder: Path, experts: tuple[str, ...]
) -> SecondStage | None:
    """Read the second stage of a perception, None if it has none."""
    fields = header.get(_SECOND_STAGE)
    if fields is None:
        return None
    if not isinstance(fields, dict) or not _SECOND_STAGE_FIELDS.keys() <= fields.keys():
        raise InputError(
            f"{_SECOND_STAGE} is {show(fields)}; expected {list(_SECOND_STAGE_FIELDS)}"
        )
    for name, kind in _SECOND_STAGE_FIELDS.items():
        values = fields[name] if kind is list else [fields[name]]
        if not isinstance(values, list) or not all(map(is_number, values)):
            raise InputError(f"{_SECOND_STAGE}.{name} is {show(fields[name])}; expected numbers")
    perception = load_perception(folder / _SECOND_STAGE)
    if perception.experts != experts:
        raise InputError(f"the perception in {_SECOND_STAGE} knows other experts than the first")
    return SecondStage(
        perception,
        fields["seconds"],
        tuple(fields["prices"]),
        tuple(fields["thresholds"]),
        fields["loss_per_second"],
    )


def _build_perception(
    header: Mapping[str, Any], arrays: ArrayDict, encoder: Encoder
) -> LearnedPerception:
    sizes = Sizes({"embedding": encoder.dim}, _NONEMPTY)
    check_field("experts", header["experts"], Names("experts"), sizes)
    parts = _read_parts(header, arrays, encoder, sizes)
    forecasts = _read_forecasts(arrays, sizes)
    if not all(map(is_number, header["report"].values())):
        raise InputError(f"the report is {show(header['report'])}; expected numbers")
    return LearnedPerception(
        header["experts"], encoder, **parts, forecasts=forecasts, report=header["report"]
    )


def _read_parts(
    header: Mapping[str, Any], arrays: ArrayDict, encoder: Encoder, sizes: Sizes
) -> dict[str, Any]:
    parts = {}
    for name, rule in (_REQUIRED_PARTS | _OPTIONAL_PARTS).items():
        if name in _OPTIONAL_PARTS and name not in header:
            continue
        # Unmeasured experts that were observed have abilities of the same rank.
        own_sizes = sizes.without("experts") if name == "observed_experts" else sizes
        parts[name] = deserialize(header.get(name), name, arrays, rule, FIELD_RULES, own_sizes)
        if name == "feature_extractor":
            sizes["features"] = n_features = _n_features(encoder, parts[name])
            known = parts[name].pretrained
            sizes["compared_features"] = n_features if known is None else known.input_width
    return parts


def _read_forecasts(arrays: ArrayDict, sizes: Sizes) -> ArrayDict:
    forecasts = {
        name.removeprefix(_FORECAST_PREFIX): table
        for name, table in arrays.items()
        if name.startswith(_FORECAST_PREFIX)
    }
    for name, table in forecasts.items():
        check_field(f"{_FORECAST_PREFIX}{name}", table, _FORECAST, sizes)
    return forecasts


def _n_features(encoder: Encoder, extractor: FeatureExtractor) -> int:
    blocks = extractor.blocks
    embedding_width = blocks[-1].stop if blocks else encoder.dim
    width = embedding_width + extractor.tfidf.width + SURFACE_WIDTH + TOOL_SCHEMA_WIDTH
    width += CHOICE_PRODUCTS_WIDTH if extractor.choice_scaler is not None else 0
    pretrained = extractor.pretrained
    if pretrained is None:
        return width
    if pretrained.input_width != width:
        raise InputError(
            f"the features of a pretrained router read {pretrained.input_width} numbers; expected "
            f"{width}"
        )
    own_width = 0 if extractor.own_tfidf is None else extractor.own_tfidf.width
    return width + own_width + pretrained.width


def _check_prediction(perception: LearnedPerception, folder: Path) -> None:
    """Predict once, because numbers that are fine one by one may overflow together."""
    with np.errstate(all="ignore"):
        prediction = perception.predict([_PROBE])
        tables = prediction.losses, prediction.std  # the std is computed when it is read
    if not all(np.isfinite(table).all() for table in tables):
        raise PersistenceError(
            f"{folder / WEIGHTS_FILE} is damaged: its numbers predict a loss that is not finite"
        )


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
            f"{folder} holds an encoder of kind {show(kind)}; known kinds: {known_kinds}"
        )
    try:
        encoder = _ENCODER_CLASSES[kind].load(folder)
        encoder.encode([_PROBE])
    except (InputError, PerceptionError) as error:
        raise PersistenceError(f"the encoder in {folder} is damaged: {error}") from error
    return encoder


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
