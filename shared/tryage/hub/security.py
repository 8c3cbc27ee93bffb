"""How safe a model is to load: what the scanners found, the file format, and code it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.hub.wire import flag, items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.hub.clues import Clues
    from tryage.hub.facts import Fact

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
    """Return the score between 0 and 1, the formats of the weights, and whether code comes along.

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
    code = "custom_code" in clues.marks or bool(mapping(clues.config.get("auto_map")))
    if code:
        facts["custom_code"] = clues.fact(True, "custom_code tag or auto_map of the config", 0.95)
    scan, confidence = _scan(clues)
    if scan != "unknown" or formats or code or flag(clues.record.get("disabled")):
        facts["security"] = _score(clues, scan, _kind(formats), code, confidence)
    return facts


def _score(clues: Clues, scan: str, kind: str, code: bool, confidence: float) -> Fact:
    """Multiply the three factors and say so."""
    if flag(clues.record.get("disabled")):
        return clues.fact(0.0, "disabled by the Hub", 1.0)
    factor = CODE if code else 1.0
    value = SCANS[scan] * FORMATS[kind] * factor
    source = (
        f"scans {scan} {SCANS[scan]:g} x format {kind} {FORMATS[kind]:g}"
        f" x {'custom code' if code else 'no code'} {factor:g}"
    )
    return clues.fact(round(value, 4), source, confidence)


def _scan(clues: Clues) -> tuple[str, float]:
    """Return the worst word of the scanners, and how sure that is."""
    block = mapping(clues.record.get("securityRepoStatus"))
    issues = [text(mapping(row).get("level")) for row in items(block.get("filesWithIssues"))]
    statuses = [file.scan for file in clues.files if file.scan is not None]
    worst = _worst([*issues, *statuses])
    if worst is not None and SCANS[worst] < SCANS["unknown"]:
        return worst, 0.9
    if flag(block.get("scansDone")):
        return worst or "safe", 0.9
    weights = [file for file in clues.files if _suffix(file.path) in _SAFE | _PICKLE]
    if worst is not None and weights and all(file.scan in SCANS for file in weights):
        return worst, 0.9
    return "unknown", 0.3


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


def _kind(formats: frozenset[str]) -> str:
    """Name the mix of formats: what can run code when it is read, and what cannot."""
    if not formats:
        return "unknown"
    if formats <= _SAFE:
        return "safe"
    return "pickle" if formats <= _PICKLE else "mixed"
