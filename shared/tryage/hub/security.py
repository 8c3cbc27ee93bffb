"""How safe a model is to load: what the scanners found, the file format, and code it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.hub.model import Fact
from tryage.hub.record import flag, items, mapping, text

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.hub.record import Clues

# Unknown is not safe: what nobody has scanned is worth half of what has passed.
SCANS: Mapping[str, float] = {
    "safe": 1.0,
    "caution": 0.7,
    "unknown": 0.5,
    "suspicious": 0.3,
    "unsafe": 0.0,
}

FORMATS: Mapping[str, float] = {"safe": 1.0, "mixed": 0.9, "unknown": 0.5, "pickle": 0.4}

CODE = 0.3

# Scanner levels that say nothing about the file yet.
_PENDING = frozenset(("unscanned", "queued", "error"))

_SAFE = frozenset((".safetensors", ".gguf", ".onnx"))

_PICKLE = frozenset((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".keras"))

_BESIDE = ("training_args.bin", "optimizer", "scheduler", "rng_state", "scaler")  # never loaded

_TAGS: Mapping[str, str] = {
    "safetensors": ".safetensors",
    "gguf": ".gguf",
    "onnx": ".onnx",
    "pytorch": ".bin",
    "tf": ".h5",
    "joblib": ".joblib",
}


def read_security(clues: Clues) -> dict[str, Fact]:
    """Return `security` between 0 and 1, and `scan`, `formats` and `custom_code` it follows from.

    scan x format x code, each factor named in the source of the fact; disabled by the Hub or an
    unsafe file makes it 0. The format and the code matter where the model is loaded, not where a
    provider serves it; a model that is never scanned has at most half of the score. Nothing known
    of scan, format or code gives no score at all.
    """
    facts: dict[str, Fact] = {}
    formats = _formats(clues)
    if formats:
        listed = tuple(sorted(suffix[1:] for suffix in formats))
        facts["formats"] = clues.fact(listed, "files" if clues.files else "tags", 0.9)
    if "custom_code" in clues.marks or mapping(clues.config.get("auto_map")):
        facts["custom_code"] = clues.fact(True, "custom_code tag or auto_map of the config", 0.95)
    scan = _scan(clues)
    if scan is not None:
        facts["scan"] = clues.fact(scan, "security scans of the Hub", 0.9)
    return facts | _score(facts, flag(clues.record.get("disabled")) or False, clues.seen)


def _score(facts: Mapping[str, Fact], disabled: bool, seen: datetime.datetime) -> dict[str, Fact]:
    """Multiply the three factors and say so."""
    if disabled:
        return {"security": Fact(0.0, "disabled by the Hub", seen, 1.0)}
    scanned, code = facts.get("scan"), "custom_code" in facts
    formats = facts["formats"].value if "formats" in facts else ()
    if scanned is None and not formats and not code:
        return {}
    scan, kind = "unknown" if scanned is None else scanned.value, _kind(formats)
    factor = CODE if code else 1.0
    value = SCANS[scan] * FORMATS[kind] * factor
    source = (
        f"scans {scan} {SCANS[scan]:g} x format {kind} {FORMATS[kind]:g}"
        f" x {'custom code' if code else 'no code'} {factor:g}"
    )
    when, confidence = (seen, 0.3) if scanned is None else (scanned.seen, scanned.confidence)
    return {"security": Fact(round(value, 4), source, when, confidence)}


def _scan(clues: Clues) -> str | None:
    """Return the worst word of the scanners, None while they have not seen everything."""
    block = mapping(clues.record.get("securityRepoStatus"))
    issues = [text(mapping(row).get("level")) for row in items(block.get("filesWithIssues"))]
    statuses = [file.scan for file in clues.files if file.scan is not None]
    worst = _worst([*issues, *statuses])
    if worst is not None and SCANS[worst] < SCANS["unknown"]:
        return worst
    weights = [file for file in clues.files if _suffix(file.path) in _SAFE | _PICKLE]
    done = flag(block.get("scansDone")) or (weights and all(file.scan in SCANS for file in weights))
    return _known(worst or "safe") if done else None


def _known(scan: str) -> str | None:
    return None if scan == "unknown" else scan


def _worst(levels: Iterable[str | None]) -> str | None:
    """Return the worst level; a pending one, or a word nobody knows, counts as unknown."""
    words = [
        "unknown" if level in _PENDING or level not in SCANS else level
        for level in levels
        if level is not None
    ]
    return min(words, key=SCANS.__getitem__) if words else None


def _formats(clues: Clues) -> frozenset[str]:
    """Return the suffixes of the weights, from the files or, without a list of files, the tags."""
    if clues.files:
        paths = [file.path for file in clues.files]
        found = {_suffix(path) for path in paths if not _is_beside(path)}
    else:
        found = {suffix for tag, suffix in _TAGS.items() if tag in clues.marks}
    return frozenset(found & (_SAFE | _PICKLE))


def _suffix(path: str) -> str:
    return path[path.rfind(".") :].lower() if "." in path else ""


def _is_beside(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith(_BESIDE)


def _kind(formats: Sequence[str]) -> str:
    """Name the mix of formats: what can run code when it is read, and what cannot."""
    if not formats:
        return "unknown"
    safe = [f".{name}" in _SAFE for name in formats]
    return "safe" if all(safe) else "mixed" if any(safe) else "pickle"
