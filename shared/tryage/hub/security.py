"""How safe a model is to load: what the scanners found, the file format, and code it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.hub.model import Fact
from tryage.hub.record import as_bool, as_list, as_mapping, as_str

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.hub.record import ParsedRecord

# Unknown is not safe: what nobody has scanned is worth half of what has passed.
SCAN_SCORES: Mapping[str, float] = {
    "safe": 1.0,
    "caution": 0.7,
    "unknown": 0.5,
    "suspicious": 0.3,
    "unsafe": 0.0,
}

FORMAT_SCORES: Mapping[str, float] = {"safe": 1.0, "mixed": 0.9, "unknown": 0.5, "pickle": 0.4}

CUSTOM_CODE_FACTOR = 0.3

# Scanner levels that say nothing about the file yet.
_PENDING_LEVELS = frozenset(("unscanned", "queued", "error"))

_SAFE_SUFFIXES = frozenset((".safetensors", ".gguf", ".onnx"))

_PICKLE_SUFFIXES = frozenset(
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".keras")
)

_AUXILIARY_PREFIXES = (
    "training_args.bin",
    "optimizer",
    "scheduler",
    "rng_state",
    "scaler",
)  # never loaded

_SUFFIX_BY_TAG: Mapping[str, str] = {
    "safetensors": ".safetensors",
    "gguf": ".gguf",
    "onnx": ".onnx",
    "pytorch": ".bin",
    "tf": ".h5",
    "joblib": ".joblib",
}


def parse_security(record: ParsedRecord) -> dict[str, Fact]:
    """Return `security` between 0 and 1, and `scan`, `formats` and `custom_code` it follows from.

    scan x format x code, each factor named in the source of the fact; disabled by the Hub or an
    unsafe file makes it 0. The format and the code matter where the model is loaded, not where a
    provider serves it; a model that is never scanned has at most half of the score. Nothing known
    of scan, format or code gives no score at all.
    """
    facts: dict[str, Fact] = {}
    formats = _weight_suffixes(record)
    if formats:
        listed = tuple(sorted(suffix[1:] for suffix in formats))
        facts["formats"] = record.fact(listed, "files" if record.files else "tags", 0.9)
    if "custom_code" in record.lowercase_tags or as_mapping(record.config.get("auto_map")):
        facts["custom_code"] = record.fact(True, "custom_code tag or auto_map of the config", 0.95)
    scan = _scan_status(record)
    if scan is not None:
        facts["scan"] = record.fact(scan, "security scans of the Hub", 0.9)
    return facts | _security_score(
        facts, as_bool(record.raw.get("disabled")) or False, record.fetched_at
    )


def _security_score(
    facts: Mapping[str, Fact], disabled: bool, fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Multiply the three factors and say so."""
    if disabled:
        return {"security": Fact(0.0, "disabled by the Hub", fetched_at, 1.0)}
    scanned, code = facts.get("scan"), "custom_code" in facts
    formats = facts["formats"].value if "formats" in facts else ()
    if scanned is None and not formats and not code:
        return {}
    scan, kind = "unknown" if scanned is None else scanned.value, _format_mix(formats)
    factor = CUSTOM_CODE_FACTOR if code else 1.0
    value = SCAN_SCORES[scan] * FORMAT_SCORES[kind] * factor
    source = (
        f"scans {scan} {SCAN_SCORES[scan]:g} x format {kind} {FORMAT_SCORES[kind]:g}"
        f" x {'custom code' if code else 'no code'} {factor:g}"
    )
    when, confidence = (
        (fetched_at, 0.3) if scanned is None else (scanned.fetched_at, scanned.confidence)
    )
    return {"security": Fact(round(value, 4), source, when, confidence)}


def _scan_status(record: ParsedRecord) -> str | None:
    """Return the worst word of the scanners, None while they have not seen everything."""
    block = as_mapping(record.raw.get("securityRepoStatus"))
    issues = [as_str(as_mapping(row).get("level")) for row in as_list(block.get("filesWithIssues"))]
    statuses = [file.scan_status for file in record.files if file.scan_status is not None]
    worst = _worst_level([*issues, *statuses])
    if worst is not None and SCAN_SCORES[worst] < SCAN_SCORES["unknown"]:
        return worst
    weights = [
        file for file in record.files if _suffix(file.path) in _SAFE_SUFFIXES | _PICKLE_SUFFIXES
    ]
    done = as_bool(block.get("scansDone")) or (
        weights and all(file.scan_status in SCAN_SCORES for file in weights)
    )
    return _known_or_none(worst or "safe") if done else None


def _known_or_none(scan: str) -> str | None:
    return None if scan == "unknown" else scan


def _worst_level(levels: Iterable[str | None]) -> str | None:
    """Return the worst level; a pending one, or a word nobody knows, counts as unknown."""
    words = [
        "unknown" if level in _PENDING_LEVELS or level not in SCAN_SCORES else level
        for level in levels
        if level is not None
    ]
    return min(words, key=SCAN_SCORES.__getitem__) if words else None


def _weight_suffixes(record: ParsedRecord) -> frozenset[str]:
    """Return the suffixes of the weights, from the files or, without a list of files, the tags."""
    if record.files:
        paths = [file.path for file in record.files]
        found = {_suffix(path) for path in paths if not _is_auxiliary_file(path)}
    else:
        found = {suffix for tag, suffix in _SUFFIX_BY_TAG.items() if tag in record.lowercase_tags}
    return frozenset(found & (_SAFE_SUFFIXES | _PICKLE_SUFFIXES))


def _suffix(path: str) -> str:
    return path[path.rfind(".") :].lower() if "." in path else ""


def _is_auxiliary_file(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith(_AUXILIARY_PREFIXES)


def _format_mix(formats: Sequence[str]) -> str:
    """Name the mix of formats: what can run code when it is read, and what cannot."""
    if not formats:
        return "unknown"
    safe = [f".{name}" in _SAFE_SUFFIXES for name in formats]
    return "safe" if all(safe) else "mixed" if any(safe) else "pickle"
