"""A router as a folder or a Hub repository: saving, loading, and the model card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import InputError, PersistenceError
from tryage.files import folder_exists
from tryage.perception.atomic_write import checked_folder, replace_folder
from tryage.perception.field_rules import Names, Sizes, check_field, show
from tryage.perception.model import LearnedPerception
from tryage.perception.persistence import load_perception, save_perception
from tryage.perception.serialization import read_header, write_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.core.perception import Perception

FORMAT = 1
ROUTER_FILE = "router.json"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"

_LOGGER = logging.getLogger(__name__)

_PRIVILEGES = ("prompt_flags", "default_exempt")  # settings that no repository can switch on

_HEADER_FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "library": list,
    "preferences": dict,
    "default": (str, type(None)),
    "strict": bool,
    "prompt_flags": bool,
    "constraints": list,
}

_MAX_SHOWN_NAMES = 12
_METADATA_PRIOR_TEXT = (
    "estimated from parameters, age, family and other facts, as far as\n"
    "  these explain the abilities of the measured experts, with a larger stated uncertainty"
)
_UNINFORMATIVE_PRIOR_TEXT = (
    "assumed to be like the mean of the measured ones, with a large uncertainty"
)

_HELD_OUT = "held_out "  # what the names of scores on held-out prompts begin with
_HELD_OUT_TEMPLATE = """
## Measured on held-out prompts

Mean scores of each set on prompts that the router was not trained on (higher is better). The sets
have different experts: compare within a set.

{metrics}
"""
_CARD_TEMPLATE = """---
library_name: tryage
tags:
- llm-routing
- tryage
---

# A Tryage router

Predicts, from the prompt alone, how well each of {experts} language models would answer it, and
picks the one with the lowest predicted loss plus weighted constraints (arXiv 2308.11601).

```python
from tryage import Router

router = Router.from_pretrained("<this repository>")
print(router.route("Prove that the square root of two is irrational.").explain())
```

- Encoder: {encoder}
- Experts: {names}
- Experts without measurements: {prior}

## Measured while training

Mean loss on training prompts that the estimators behind each prediction had not seen (three inner
folds; lower is better). These figures do not replace a test on held-out prompts: run
`tryage evaluate`.

{metrics}
{held_out}
## Limits

The router knows the kinds of prompts and the experts it was trained on. A provider may change a
model without changing its name: measure again with `tryage evaluate`, and let the router learn with
`Router.observe`.
"""


def save_router(  # noqa: PLR0913 - the parts of a router
    folder: Path,
    *,
    perception: Perception,
    library: Library,
    preferences: Preferences,
    constraints: Mapping[str, Constraint],
    default: str | None,
    default_exempt: bool,
    strict: bool,
    prompt_flags: bool,
    min_typicality: float | None,
) -> None:
    """Write the parts of a router to a folder, with a model card.

    A stop at any moment leaves the router that was in the folder, or the new one.

    Raises:
        PersistenceError: the perception is not one that Tryage can save, or a file cannot be
            written; then the router that was in the folder is unchanged.
    """
    if not isinstance(perception, LearnedPerception):
        raise PersistenceError(
            f"{type(perception).__name__} cannot be saved; expected a perception from "
            "tryage.learning.training.fit or from_pretrained"
        )
    header = {
        "format": FORMAT,
        "library": library.to_dicts(),
        "preferences": preferences.to_dict(),
        "default": default,
        "default_exempt": default_exempt,
        "strict": strict,
        "prompt_flags": prompt_flags,
        "min_typicality": min_typicality,
        "constraints": sorted(set(constraints) - set(DEFAULT_CONSTRAINTS)),
    }

    def write(scratch: Path) -> None:
        save_perception(perception, scratch)
        write_header(scratch / ROUTER_FILE, header)
        (scratch / "README.md").write_text(model_card(perception, library), "utf-8")

    replace_folder(folder, ROUTER_FILE, write)


def load_router_parts(folder: Path, constraints: Mapping[str, Constraint]) -> dict[str, Any]:
    """Return the arguments of `Router` that `save_router` wrote to a folder.

    Raises:
        PersistenceError: a file is missing, damaged or from a newer version, or own constraints of
            the router are missing.
    """
    with checked_folder(folder, ROUTER_FILE):
        return _read_router_parts(folder, constraints)


def _read_router_parts(folder: Path, constraints: Mapping[str, Constraint]) -> dict[str, Any]:
    header = read_header(folder / ROUTER_FILE, "router", FORMAT, _HEADER_FIELDS)
    try:
        check_field("constraints", header["constraints"], Names("constraints"), Sizes({}))
        library = Library.from_dicts(header["library"])
        preferences = Preferences.from_dict(header["preferences"])
    except (InputError, RecursionError) as error:  # metadata may be nested
        raise damaged_router(folder, error) from error
    if missing_constraints := sorted(set(header["constraints"]) - set(constraints)):
        raise PersistenceError(
            f"the router in {folder} has constraints of its own, {show(missing_constraints)}: "
            "give them again, as from_pretrained(..., constraints={name: function})"
        )
    return {
        "perception": load_perception(folder),
        "library": library,
        "preferences": preferences,
        "constraints": constraints,
        "default": header["default"],
        "default_exempt": header.get("default_exempt") is True,  # older files have none
        "strict": header["strict"],
        "prompt_flags": header["prompt_flags"],
        "min_typicality": header.get("min_typicality"),  # older files have none
    }


def without_privileges(
    parts: Mapping[str, Any], name: str | Path, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parts of a router from a repository; some settings only its user may switch on.

    Whoever writes the repository must not decide that prompts may give orders, or that limits do
    not hold for the default. `chosen` are the settings that the user gave.
    """
    kept = dict(parts)
    for setting in _PRIVILEGES:
        if kept[setting]:
            kept[setting] = False
            if setting not in chosen:
                _LOGGER.warning(
                    "The router %s was saved with %s=True, which a repository cannot switch on. If "
                    "you want it, pass %s=True to from_pretrained.",
                    name,
                    setting,
                    setting,
                )
    return kept


def resolve_folder(
    name_or_path: str | Path,
    hub_options: Mapping[str, Any],
    writer: str,
    example: str,
    other_options: Iterable[str] = (),
) -> Path:
    """Return a folder on disk: the path itself, or a Hub repository, which is downloaded.

    `writer` and `example` are for the message: the function that writes such folders, and a
    repository id. `other_options` are arguments that a misspelt option may mean instead.

    Raises:
        InputError: an unknown option.
        PersistenceError: it is neither, or the repository cannot be downloaded.
    """
    if hub_options:
        from tryage.hub.repository import check_download_options

        check_download_options(hub_options, other_options)
    path = Path(name_or_path)
    if folder_exists(path):
        return path
    if isinstance(name_or_path, Path) or name_or_path.count("/") != 1:
        raise PersistenceError(
            f"{path} is not a folder; expected one that {writer} wrote, or a Hub repository "
            f"id such as {example!r}"
        )
    from tryage.hub.repository import download_folder

    return download_folder(name_or_path, **hub_options)


def damaged_router(folder: Path, error: Exception) -> PersistenceError:
    """Return the error for a folder whose header does not describe a valid router."""
    return PersistenceError(f"{folder / ROUTER_FILE} is damaged: {error}")


def model_card(perception: LearnedPerception, library: Library) -> str:
    """Return the model card of a router, in Markdown with the Hub's YAML header."""
    names = list(library.names)
    name_suffix = (
        f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    )
    report = perception.report
    training = {name: value for name, value in report.items() if not name.startswith(_HELD_OUT)}
    is_informative = bool(perception.metadata_prior.groups)
    prior = _METADATA_PRIOR_TEXT if is_informative else _UNINFORMATIVE_PRIOR_TEXT
    return _CARD_TEMPLATE.format(
        experts=len(names),
        encoder=_encoders(perception),
        names=", ".join(f"`{name}`" for name in names[:_MAX_SHOWN_NAMES]) + name_suffix,
        prior=prior,
        metrics=_metrics_table(training),
        held_out=_held_out_section(report),
    )


def _encoders(perception: LearnedPerception) -> str:
    """Describe the encoder, and that of the second stage if there is one."""
    described = f"{type(perception.encoder).__name__}, {perception.encoder.dim} dimensions"
    stage = perception.second_stage
    if stage is None or not isinstance(stage.perception, LearnedPerception):
        return described
    second = type(stage.perception.encoder).__name__
    return f"{described}; where two experts are close, {second}"


def _held_out_section(report: Mapping[str, float]) -> str:
    scores = {
        name.removeprefix(_HELD_OUT): value
        for name, value in report.items()
        if name.startswith(_HELD_OUT)
    }
    return _HELD_OUT_TEMPLATE.format(metrics=_metrics_table(scores)) if scores else ""


def _metrics_table(report: Mapping[str, float]) -> str:
    if not report:
        return "No figures were measured."
    rows = [f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in report.items()]
    return "\n".join(["| what | value |", "|---|---|", *rows])
