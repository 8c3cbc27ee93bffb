"""A ranker as a folder, a Hub repository or the bundled one: saved, pushed, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import PersistenceError
from tryage.perception.migration import ClassNames, rename_fields
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER as ROUTER
from tryage.perception.pretrained import resolve_folder
from tryage.perception.serialization import ArrayDict, deserialize, read_header, serialize
from tryage.tools.matching import Feedback, ToolMatcher

if TYPE_CHECKING:
    from typing import TypeVar

    from tryage.tools.ranker import ToolRanker

    AnyRanker = TypeVar("AnyRanker", bound="Pretrained")

FORMAT = 2

BUNDLED = Path(__file__).parent / "bundled"  # reads with the router's encoder

HEADER_FILE, WEIGHTS_FILE = "ranker.json", "ranker.safetensors"

_HEADER_FIELDS: dict[str, type | tuple[type, ...]] = {"format": int, "fit": dict, "taught": list}

_FORMAT_1: ClassNames = {
    "Fit": (
        "ToolMatcher",
        {
            "details": "argument_weight",
            "sharpness": "cosine_scale",
            "words": "lexical_weights",
            "clauses": "clause_weight",
            "useful": "usefulness_coef",
            "needed": "needed_coef",
            "seen": "seen_fingerprints",
            "handicap": "seen_penalty",
        },
    )
}

_CARD = """\
---
library_name: tryage
tags:
- tool-selection
- tryage
---

# A Tryage tool ranker

Picks the few tools that an agent needs for a query, before its model is called: predicted
usefulness plus weighted constraints (cost, latency, risk) and permissions.

```python
from tryage.tools import Tool, ToolRanker

ranker = ToolRanker.from_pretrained("<this repository>")
tools = [Tool("get_weather", "Current weather of a city"), Tool("send_mail", "Send an e-mail")]
print(ranker.select(tools, "Will it rain in Rome?", k=1).explain())
```

- Encoder: {encoder}, {dim} dimensions; queries and tools are placed by a map each, and the words
  that they share count beside
- Learned from use (`ToolRanker.observe`): {taught} tools

## Limits

It reads names, descriptions and arguments; what these do not tell it learns from use. It judges the
query alone, not the conversation before it.
"""


class Pretrained:
    """Lends a ranker its way to a folder and to the Hub, and back."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the ranker to a folder: safetensors and JSON, never pickle, and a model card."""
        _save_ranker(self, Path(folder))  # type: ignore[arg-type]  # the only class with this base

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - see tryage.hub.repository
        """Save the ranker to a repository of the Hub and return the commit's address.

        Raises:
            PersistenceError: the Hub refuses or does not answer.
        """
        from tryage.hub.repository import push_folder

        hub = {"commit_message": "Add a tool ranker", **hub}
        return push_folder(lambda folder: _save_ranker(self, folder), repo_id, **hub)  # type: ignore[arg-type]  # as above

    @classmethod
    def from_pretrained(
        cls: type[AnyRanker],
        name_or_path: str | Path | None = None,
        **hub: Any,  # noqa: ANN401 - what snapshot_download takes
    ) -> AnyRanker:
        """Read a ranker: the bundled one, a folder, or a Hub repository by its id.

        Raises:
            PersistenceError: nothing is there, it is damaged, or from a newer version.
        """
        if name_or_path is None:
            return _load_ranker(cls, BUNDLED, ROUTER / "encoder")
        folder = resolve_folder(name_or_path, hub, "ToolRanker.save_pretrained", "name/ranker")
        return _load_ranker(cls, folder, folder / "encoder")


def save_matcher(matcher: ToolMatcher, feedback: Feedback, folder: Path) -> None:
    """Write what was learned, without the encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: ArrayDict = {}
    packed = serialize(matcher, "fit", arrays)
    taught = sorted(feedback.sums)
    arrays |= {f"taught.{place}": feedback.sums[name] for place, name in enumerate(taught)}
    stored = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    (folder / WEIGHTS_FILE).write_bytes(save(stored))
    header = {"format": FORMAT, "fit": packed, "taught": taught}
    (folder / HEADER_FILE).write_text(json.dumps(header, indent=1) + "\n", "utf-8")


def _save_ranker(ranker: ToolRanker, folder: Path) -> None:
    save_matcher(ranker.matcher, ranker.feedback, folder)
    ranker.encoder.save(folder / "encoder")
    (folder / "README.md").write_text(ranker_card(ranker), "utf-8")


def _load_ranker(cls: type[AnyRanker], folder: Path, encoder: Path) -> AnyRanker:
    header = read_header(folder / HEADER_FILE, "tool ranker", FORMAT, _HEADER_FIELDS)
    if header["format"] < FORMAT:
        header["fit"] = rename_fields(header["fit"], _FORMAT_1)
    try:
        arrays = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise PersistenceError(f"{folder} holds no readable tool ranker: {error}") from error
    matcher = deserialize(header["fit"], arrays, (ToolMatcher,))
    missing = [name for i, name in enumerate(header["taught"]) if f"taught.{i}" not in arrays]
    if missing or not isinstance(matcher, ToolMatcher):
        raise PersistenceError(f"{folder / HEADER_FILE} is damaged; save the tool ranker again")
    sums = {name: arrays[f"taught.{i}"] for i, name in enumerate(header["taught"])}
    return cls(load_encoder(encoder), matcher, Feedback(sums))  # type: ignore[call-arg]  # ToolRanker


def ranker_card(ranker: ToolRanker) -> str:
    """Write the card, in Markdown with the Hub's YAML header."""
    encoder = ranker.encoder
    return _CARD.format(
        encoder=type(encoder).__name__, dim=encoder.dim, taught=len(ranker.feedback)
    )
