"""A router as a folder, a Hub repository or the bundled default: saved, pushed, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import InputError, PersistenceError
from tryage.perception.model import LearnedPerception
from tryage.perception.persistence import load_perception, read_header, save_perception

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeVar

    from tryage.perception.base import Perception
    from tryage.router import Router

    AnyRouter = TypeVar("AnyRouter", bound="Pretrained")

FORMAT = 1

BUNDLED_FOLDER = Path(__file__).parent / "bundled"

ROUTER_FILE = "router.json"

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
    "guessed from parameters, age, family and other facts, as far as these\n"
    "  told the abilities of its own experts; less sure, and it says how much"
)

_UNINFORMATIVE_PRIOR_TEXT = "taken to be like the mean of its own, unsurely"

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
- Experts it has never measured: {strangers}

## Measured while training

Mean loss on training prompts that the estimators behind each prediction had not seen (three inner
folds; lower is better). Only a test on prompts kept apart is a test: `tryage evaluate` does one.

{figures}

## Limits

It knows the kinds of prompts and the experts it was trained on. A provider may change a model under
its name; measure again with `tryage evaluate`, and let it learn with `Router.observe`.
"""


class Pretrained:
    """Gives a router `save_pretrained`, `push_to_hub` and `from_pretrained`."""

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,  # noqa: ANN401 - what push_to_hub takes
    ) -> None:
        """Write the router: weights as safetensors, the rest as JSON, and a model card.

        Own constraints are code and are not saved, only their names: give them again on reading.
        Tokens, clients and other arguments are not part of a router and reach no file.

        Raises:
            PersistenceError: the perception is not one that Tryage can save.
        """
        folder = Path(folder)
        save_router(self, folder)  # type: ignore[arg-type]  # the only class with this base
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, **hub)

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - see tryage.hub.repository
        """Save the router to a repository of the Hugging Face Hub and return the commit's address.

        Takes token, private, branch, commit_message, and what `HfApi.upload_folder` takes.
        """
        from tryage.hub.repository import push_folder

        return push_folder(lambda folder: save_router(self, folder), repo_id, **hub)  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(
        cls: type[AnyRouter],
        name_or_path: str | Path | None = None,
        *,
        constraints: Mapping[str, Constraint] | None = None,
        **hub: Any,  # noqa: ANN401 - what snapshot_download takes
    ) -> AnyRouter:
        """Read a router: the bundled default, a folder, or a Hub repository by its id.

        Args:
            name_or_path: None is the bundled default.
            constraints: The router's own constraints, by name, which are code and not in the file.
            hub: `revision`, `token`, `cache_dir` ... for `huggingface_hub.snapshot_download`.

        Raises:
            PersistenceError: nothing is there, it is damaged, from a newer version, or it needs
                constraints that were not given.
        """
        name = BUNDLED_FOLDER if name_or_path is None else name_or_path
        folder = resolve_folder(name, hub, "save_pretrained", "name/router")
        return load_router_parts(cls, folder, dict(constraints or {}))


def resolve_folder(
    name_or_path: str | Path, hub_options: Mapping[str, Any], writer: str, example: str
) -> Path:
    """Return a folder that `writer` wrote: the one named, or a Hub repository brought here.

    Raises:
        PersistenceError: it is neither, or the repository cannot be fetched.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if isinstance(name_or_path, Path) or name_or_path.count("/") != 1:
        raise PersistenceError(
            f"{path} is not a folder; expected one that {writer} wrote, or a Hub repository "
            f"id such as {example!r}"
        )
    from tryage.hub.repository import download_folder

    return download_folder(name_or_path, **hub_options)


def save_router(router: Router, folder: Path) -> None:
    perception: Perception = router.perception
    if not isinstance(perception, LearnedPerception):
        raise PersistenceError(
            f"{type(perception).__name__} cannot be saved; expected a perception that "
            "tryage.learning.training.trainer.fit or from_pretrained made"
        )
    save_perception(perception, folder)
    header = {
        "format": FORMAT,
        "library": router.library.to_dicts(),
        "preferences": router.preferences.to_dict(),
        "default": router.default,
        "strict": router.strict,
        "prompt_flags": router.prompt_flags,
        "constraints": sorted(set(router.constraints) - set(DEFAULT_CONSTRAINTS)),
    }
    (folder / ROUTER_FILE).write_text(json.dumps(header, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(model_card(perception, router.library), "utf-8")


def load_router_parts(
    cls: type[AnyRouter], folder: Path, constraints: dict[str, Constraint]
) -> AnyRouter:
    header = read_header(folder / ROUTER_FILE, "router", FORMAT, _HEADER_FIELDS)
    if absent := sorted(set(header["constraints"]) - set(constraints)):
        raise PersistenceError(
            f"the router in {folder} weighs constraints of its own, {absent}: give them again, as "
            "from_pretrained(..., constraints={name: function})"
        )
    perception = load_perception(folder)
    try:
        return cls(  # type: ignore[call-arg]  # the only class with this base is Router
            perception,
            Library.from_dicts(header["library"]),
            preferences=Preferences.from_dict(header["preferences"]),
            constraints=constraints,
            default=header["default"],
            strict=header["strict"],
            prompt_flags=header["prompt_flags"],
        )
    except InputError as error:
        raise PersistenceError(f"{folder / ROUTER_FILE} is damaged: {error}") from error


def model_card(perception: LearnedPerception, library: Library) -> str:
    """Write the card, in Markdown with the Hub's YAML header."""
    names = list(library.names)
    more = f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return _CARD_TEMPLATE.format(
        experts=len(names),
        encoder=f"{type(perception.encoder).__name__}, {perception.encoder.dim} dimensions",
        names=", ".join(f"`{name}`" for name in names[:_MAX_SHOWN_NAMES]) + more,
        strangers=_METADATA_PRIOR_TEXT
        if perception.metadata_prior.groups
        else _UNINFORMATIVE_PRIOR_TEXT,
        figures=_metrics_table(perception),
    )


def _metrics_table(perception: LearnedPerception) -> str:
    if not perception.report:
        return "No figures were measured."
    rows = [
        f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in perception.report.items()
    ]
    return "\n".join(["| what | value |", "|---|---|", *rows])
