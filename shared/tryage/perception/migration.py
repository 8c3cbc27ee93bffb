"""Reads what format 1 saved: its class and field names become those of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from tryage.errors import PersistenceError

ClassNames: TypeAlias = Mapping[str, tuple[str, Mapping[str, str]]]
"""A class of format 1 -> its name today, and its fields that have another name today."""

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


def migrate_perception(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of a perception of format 1 under the names of today.

    Raises:
        PersistenceError: version 0.1.0 wrote it for real-valued losses, which it modeled otherwise.
    """
    return {
        _PARTS.get(name, name): rename_fields(_migrate_link(part), _CLASSES)
        for name, part in header.items()
    }


def rename_fields(part: Any, classes: ClassNames) -> Any:  # noqa: ANN401 - any JSON value
    """Return a saved dataclass and all those in it under other class and field names."""
    if isinstance(part, list):
        return [rename_fields(item, classes) for item in part]
    if not isinstance(part, dict) or "kind" not in part:
        return part
    kind, names = classes.get(part["kind"], (part["kind"], {}))
    fields = {key: value for key, value in part.items() if key != "kind"}
    return {"kind": kind} | {
        names.get(key, key): rename_fields(value, classes) for key, value in fields.items()
    }


def _migrate_link(part: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Version 0.1.0 saved both links as one class."""
    if not isinstance(part, dict) or part.get("kind") != "Link":
        return part
    if not part.get("scored", False):
        raise PersistenceError(
            "this router of real-valued losses was saved by version 0.1.0, which learned them in "
            "another way; train it again"
        )
    return {key: value for key, value in part.items() if key != "scored"} | {"kind": "Scored"}
