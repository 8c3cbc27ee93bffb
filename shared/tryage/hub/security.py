"""How safe a model is to load: scans of the Hub, file formats, and custom code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.hub.model import Fact
from tryage.hub.record import as_bool, as_list, as_mapping, as_str

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.hub.record import ParsedRecord

# Unknown is not safe: without a scan the score is half of that with a passed one.
SCAN_SCORES: Mapping[str, float] = {
    "safe": 1.0,
    "caution": 0.7,
    "unknown": 0.5,
    "suspicious": 0.3,
    "unsafe": 0.0,
}

FORMAT_SCORES: Mapping[str, float] = {"safe": 1.0, "mixed": 0.9, "unknown": 0.5, "pickle": 0.4}

CUSTOM_CODE_FACTOR = 0.3

# Levels of scanners without a result yet.
_PENDING_LEVELS = frozenset(("unscanned", "queued", "error"))

_SAFE_SUFFIXES = frozenset((".safetensors", ".gguf", ".onnx"))

_PICKLE_SUFFIXES = frozenset(
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".keras")
)

# Left over from training, and never loaded.
_AUXILIARY_PREFIXES = ("training_args.bin", "optimizer", "scheduler", "rng_state", "scaler")

_SUFFIX_BY_TAG: Mapping[str, str] = {
    "safetensors": ".safetensors",
    "gguf": ".gguf",
    "onnx": ".onnx",
    "pytorch": ".bin",
    "tf": ".h5",
    "joblib": ".joblib",
}


def parse_security(record: ParsedRecord) -> dict[str, Fact]:
    """Return `security` from 0 to 1, and the facts it is computed from.

    These are `scan`, `formats` and `custom_code`. The score is scan x format x code, and its source
    names each factor. It is 0 for an unsafe file or a model that the Hub disabled, at most one half
    without a scan, and absent when scan, format and code are all unknown. Format and code matter
    where the model is loaded, not where a provider serves it.
    """
    facts: dict[str, Fact] = {}
    formats = _weight_suffixes(record)
    if formats:
        format_names = tuple(sorted(suffix[1:] for suffix in formats))
        facts["formats"] = record.fact(format_names, "files" if record.files else "tags", 0.9)
    if "custom_code" in record.lowercase_tags or as_mapping(record.config.get("auto_map")):
        facts["custom_code"] = record.fact(True, "custom_code tag or auto_map of the config", 0.95)
    scan = _scan_status(record)
    if scan is not None:
        facts["scan"] = record.fact(scan, "security scans of the Hub", 0.9)
    return facts | _security_score(
        facts, as_bool(record.raw.get("disabled")) or False, record.fetched_at
    )


def _security_score(
    facts: Mapping[str, Fact], is_disabled: bool, fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Return the product of the three factors, which its source names."""
    if is_disabled:
        return {"security": Fact(0.0, "disabled by the Hub", fetched_at, 1.0)}
    scan_fact, has_custom_code = facts.get("scan"), "custom_code" in facts
    formats = facts["formats"].value if "formats" in facts else ()
    if scan_fact is None and not formats and not has_custom_code:
        return {}
    scan, format_mix = "unknown" if scan_fact is None else scan_fact.value, _format_mix(formats)
    factor = CUSTOM_CODE_FACTOR if has_custom_code else 1.0
    value = SCAN_SCORES[scan] * FORMAT_SCORES[format_mix] * factor
    source = (
        f"scans {scan} {SCAN_SCORES[scan]:g} x format {format_mix} {FORMAT_SCORES[format_mix]:g}"
        f" x {'custom code' if has_custom_code else 'no code'} {factor:g}"
    )
    if scan_fact is not None:
        fetched_at = scan_fact.fetched_at
    confidence = 0.3 if scan_fact is None else scan_fact.confidence
    return {"security": Fact(round(value, 4), source, fetched_at, confidence)}


def _scan_status(record: ParsedRecord) -> str | None:
    """Return the worst level of the scanners, None while they have not scanned everything."""
    block = as_mapping(record.raw.get("securityRepoStatus"))
    issues = [as_str(as_mapping(row).get("level")) for row in as_list(block.get("filesWithIssues"))]
    statuses = [file.scan_status for file in record.files if file.scan_status is not None]
    worst_level = _worst_level([*issues, *statuses])
    if worst_level is not None and SCAN_SCORES[worst_level] < SCAN_SCORES["unknown"]:
        return worst_level
    weights = [
        file for file in record.files if _suffix(file.path) in _SAFE_SUFFIXES | _PICKLE_SUFFIXES
    ]
    is_done = as_bool(block.get("scansDone")) or (
        weights and all(file.scan_status in SCAN_SCORES for file in weights)
    )
    return (worst_level or "safe") if is_done and worst_level != "unknown" else None


def _worst_level(levels: Iterable[str | None]) -> str | None:
    """Return the worst level, None without one; a pending or unfamiliar level counts as unknown."""
    words = [
        "unknown" if level in _PENDING_LEVELS or level not in SCAN_SCORES else level
        for level in levels
        if level is not None
    ]
    return min(words, key=SCAN_SCORES.__getitem__) if words else None


def _weight_suffixes(record: ParsedRecord) -> frozenset[str]:
    """Return the suffixes of the weights, from the files, or without a list of files the tags."""
    if record.files:
        paths = [file.path for file in record.files]
        suffixes = {_suffix(path) for path in paths if not _is_auxiliary_file(path)}
    else:
        suffixes = {
            suffix for tag, suffix in _SUFFIX_BY_TAG.items() if tag in record.lowercase_tags
        }
    return frozenset(suffixes & (_SAFE_SUFFIXES | _PICKLE_SUFFIXES))


def _suffix(path: str) -> str:
    return path[path.rfind(".") :].lower() if "." in path else ""


def _is_auxiliary_file(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith(_AUXILIARY_PREFIXES)


def _format_mix(formats: Sequence[str]) -> str:
    """Return whether reading the formats can run code: "safe", "mixed", "pickle" or "unknown"."""
    if not formats:
        return "unknown"
    is_safe = [f".{name}" in _SAFE_SUFFIXES for name in formats]
    return "safe" if all(is_safe) else "mixed" if any(is_safe) else "pickle"
