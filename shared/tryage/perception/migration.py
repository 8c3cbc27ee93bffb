"""Reads files of format 1: renames their classes and fields to the names of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from tryage.perception.serialization import ArrayDict

ClassNames: TypeAlias = Mapping[str, tuple[str, Mapping[str, str]]]
"""A class of format 1 -> its name today, and the new names of its renamed fields."""

_PARTS = {
    "features": "feature_extractor",
    "caution": "soft_threshold",
    "kinship": "metadata_prior",
    "acquaintances": "observed_experts",
}

# Literals on purpose: a later rename of a class must not change what format 1 means.
_CLASSES: ClassNames = {
    "Features": (
        "FeatureExtractor",
        {
            "lexicon": "tfidf",
            "surface": "surface_scaler",
            "offer": "tool_schema_scaler",
            "choices": "choice_scaler",
        },
    ),
    "Lexicon": ("TfidfSvd", {"tokens": "token_ids", "table": "projection"}),
    "Form": ("FeatureScaler", {}),
    "Head": ("Head", {"categories": "category_classifier", "stretch": "gain"}),
    "Categories": ("CategoryClassifier", {}),
    "Middle": ("ZeroEstimator", {}),
    "CategoryTable": ("CategoryMeans", {"places": "positions"}),
    "Neighbourhood": ("KernelRegression", {"places": "positions"}),
    "Line": ("RidgeRegression", {}),
    "Caution": ("SoftThreshold", {}),
    "Scored": ("LogitLink", {}),
    "Squeezed": ("LogGapLink", {"gaps": "knots_x", "rises": "knots_y"}),
    "Kinship": (
        "MetadataPrior",
        {
            "scale": "scaler",
            "shares": "group_frequencies",
            "doubt": "coefficient_covariance",
            "spread": "residual_covariance",
            "strangeness": "unseen_group_variances",
            "ignorance": "missing_value_covariance",
        },
    ),
    "Scale": (
        "MetadataScaler",
        {"centre": "mean", "unit": "std", "lowest": "lower", "highest": "upper"},
    ),
    "Acquaintances": ("ObservedExperts", {}),
}

# Constants of the code that wrote format 1: the scaling of the 11 numbers of multiple-choice
# questions whose products are features. They must never follow a change of today's values.
_PAIR_MEAN = (5.0, 3.2, 3.6, 1.6, 0.2, 0.16, 0.06, 0.8, 1.4, 0.3, 0.09)
_PAIR_STD = (1.0, 1.2, 1.2, 1.1, 0.35, 0.2, 0.14, 0.9, 1.8, 0.8, 0.08)


def migrate_perception(
    header: Mapping[str, Any], arrays: ArrayDict
) -> tuple[dict[str, Any], ArrayDict]:
    """Return the header and the arrays of a perception of format 1 as format 2 has them.

    Raises:
        PersistenceError: version 0.1.0 wrote it for real-valued losses, with another model of them.
    """
    renamed_header = {
        _PARTS.get(name, name): rename_fields(_migrate_link(part), _CLASSES)
        for name, part in header.items()
    }
    return _add_choice_constants(renamed_header, arrays)


def rename_fields(part: Any, classes: ClassNames) -> Any:  # noqa: ANN401 - any JSON value
    """Return a saved dataclass, and the dataclasses in it, with classes and fields renamed."""
    if isinstance(part, list):
        return [rename_fields(item, classes) for item in part]
    if not isinstance(part, dict) or not isinstance(part.get("kind"), str):
        return part
    kind, field_names = classes.get(part["kind"], (part["kind"], {}))
    fields = {key: value for key, value in part.items() if key != "kind"}
    return {"kind": kind} | {
        field_names.get(key, key): rename_fields(value, classes) for key, value in fields.items()
    }


def _migrate_link(part: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Name the class of a link that version 0.1.0 saved, which had one class for both links."""
    if not isinstance(part, dict) or part.get("kind") != "Link":
        return part
    if not part.get("scored", False):
        raise PersistenceError(
            "this router of real-valued losses was saved by version 0.1.0, which learned them in "
            "another way; train it again"
        )
    return {key: value for key, value in part.items() if key != "scored"} | {"kind": "Scored"}


def _add_choice_constants(
    header: dict[str, Any], arrays: ArrayDict
) -> tuple[dict[str, Any], ArrayDict]:
    """Add the constants of multiple-choice features, which format 1 did not save."""
    features = header.get("feature_extractor")
    if not isinstance(features, dict) or features.get("choice_scaler") is None:
        return header, arrays
    constants = {
        "choice_pair_mean": np.array(_PAIR_MEAN, np.float32),
        "choice_pair_std": np.array(_PAIR_STD, np.float32),
    }
    saved_scaler = {
        "kind": "ChoiceScaler",
        "pair_mean": {"array": "choice_pair_mean"},
        "pair_std": {"array": "choice_pair_std"},
        "scaler": features["choice_scaler"],
    }
    return header | {
        "feature_extractor": features | {"choice_scaler": saved_scaler}
    }, arrays | constants
