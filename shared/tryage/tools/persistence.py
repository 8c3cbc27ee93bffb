"""A tool ranker as a folder: weights as safetensors, the rest as JSON, and a model card."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.errors import PersistenceError
from tryage.perception.atomic_write import checked_folder, replace_folder
from tryage.perception.migration import rename_fields
from tryage.perception.persistence import load_encoder
from tryage.perception.serialization import (
    deserialize,
    read_arrays,
    read_header,
    serialize,
    write_arrays,
    write_header,
)
from tryage.tools.matching import Feedback, ToolMatcher

if TYPE_CHECKING:
    from tryage.perception.encoder import Encoder
    from tryage.perception.migration import ClassNames
    from tryage.perception.serialization import ArrayDict

FORMAT = 2

BUNDLED_FOLDER = Path(__file__).parent / "bundled"  # without an encoder: it uses the router's

HEADER_FILE, WEIGHTS_FILE, CARD_FILE = "ranker.json", "ranker.safetensors", "README.md"

_HEADER_FIELDS: dict[str, type | tuple[type, ...]] = {"format": int, "fit": dict, "taught": list}

# Literals on purpose: a later rename of a field must not change what format 1 means.
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

_CARD_TEMPLATE = """\
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

- Encoder: {encoder}, {dim} dimensions; one map each places queries and tools in a common space, and
  the words that they share count as well
- Learned from use (`ToolRanker.observe`): {n_tools} tools

## Limits

It reads names, descriptions and arguments; what these do not say it learns from use. It judges the
query alone, not the conversation before it.
"""


def save_ranker(
    folder: Path, *, encoder: Encoder, matcher: ToolMatcher, feedback: Feedback
) -> None:
    """Write the parts of a ranker to a folder, with a model card.

    A stop at any moment leaves the ranker that was in the folder, or the new one.

    Raises:
        PersistenceError: a file cannot be written; then the ranker that was in the folder is
            unchanged.
    """

    def write(scratch: Path) -> None:
        _write_matcher(matcher, feedback, scratch)
        encoder.save(scratch / "encoder")
        card = _CARD_TEMPLATE.format(
            encoder=type(encoder).__name__, dim=encoder.dim, n_tools=len(feedback)
        )
        (scratch / CARD_FILE).write_text(card, "utf-8")

    replace_folder(folder, HEADER_FILE, write)


def save_matcher(matcher: ToolMatcher, feedback: Feedback, folder: Path) -> None:
    """Write what a ranker has learned, without its encoder and card."""
    replace_folder(folder, HEADER_FILE, partial(_write_matcher, matcher, feedback))


def _write_matcher(matcher: ToolMatcher, feedback: Feedback, folder: Path) -> None:
    arrays: ArrayDict = {}
    matcher_data = serialize(matcher, "fit", arrays)
    names = sorted(feedback.sums)
    arrays |= {_feedback_key(i): feedback.sums[name] for i, name in enumerate(names)}
    write_arrays(folder / WEIGHTS_FILE, arrays)
    write_header(folder / HEADER_FILE, {"format": FORMAT, "fit": matcher_data, "taught": names})


def load_ranker_parts(folder: Path, encoder_folder: Path) -> dict[str, Any]:
    """Return the arguments of `ToolRanker` that `save_ranker` wrote to a folder.

    Raises:
        PersistenceError: a file is missing, damaged, or from a newer version.
    """
    with checked_folder(folder, HEADER_FILE):
        return _read_ranker_parts(folder, encoder_folder)


def _read_ranker_parts(folder: Path, encoder_folder: Path) -> dict[str, Any]:
    header = read_header(folder / HEADER_FILE, "tool ranker", FORMAT, _HEADER_FIELDS)
    arrays = read_arrays(folder / WEIGHTS_FILE, "tool ranker")
    matcher_data = header["fit"]
    if header["format"] == 1:
        matcher_data = rename_fields(matcher_data, _FORMAT_1)
    matcher = deserialize(matcher_data, arrays, (ToolMatcher,))
    keys = {name: _feedback_key(i) for i, name in enumerate(header["taught"])}
    if not isinstance(matcher, ToolMatcher) or not arrays.keys() >= set(keys.values()):
        raise PersistenceError(f"{folder / HEADER_FILE} is damaged; save the tool ranker again")
    return {
        "encoder": load_encoder(encoder_folder),
        "matcher": matcher,
        "feedback": Feedback({name: arrays[key] for name, key in keys.items()}),
    }


def _feedback_key(index: int) -> str:
    return f"taught.{index}"
