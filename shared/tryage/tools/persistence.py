"""A tool ranker as a folder: weights as safetensors, the rest as JSON, and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError, PersistenceError
from tryage.perception.atomic_write import checked_folder, replace_folder
from tryage.perception.field_rules import Array, Either, Names, Number, Part, Sizes, check_field
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
from tryage.tools.bm25 import N_LEXICAL_FEATURES
from tryage.tools.matching import (
    N_NEEDED_FEATURES,
    N_USEFULNESS_FEATURES,
    Feedback,
    ToolMatcher,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.perception.encoder import Encoder
    from tryage.perception.field_rules import FieldRules
    from tryage.perception.migration import ClassNames
    from tryage.perception.serialization import ArrayDict

FORMAT = 2

BUNDLED_FOLDER = Path(__file__).parent / "bundled"

HEADER_FILE, WEIGHTS_FILE, CARD_FILE = "ranker.json", "ranker.safetensors", "README.md"

_HEADER_FIELDS: dict[str, type | tuple[type, ...]] = {"format": int, "fit": dict, "taught": list}

# What the fields of a matcher may hold; the first rankers knew two features of usefulness.
FIELD_RULES: FieldRules = {
    ToolMatcher: {
        "query_map": Array("embedding", "embedding"),
        "tool_map": Array("embedding", "embedding"),
        "argument_weight": Number(),
        "cosine_scale": Number(),
        "lexical_weights": Array(N_LEXICAL_FEATURES),
        "clause_weight": Number(),
        "usefulness_coef": Either(Array(3), Array(1 + N_USEFULNESS_FEATURES)),
        "needed_coef": Array(1 + N_NEEDED_FEATURES),
        "seen_fingerprints": Array("seen", kind=np.uint64, low=0, high=np.inf),
        "seen_penalty": Number(),
        "unseen_lexical_weights": Either(Array(N_LEXICAL_FEATURES), or_none=True),
        "background": Either(Array("background", "embedding", kind=np.int8), or_none=True),
        "topic_coef": Either(Array(2), or_none=True),
    }
}

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
    encoder = load_encoder(encoder_folder)
    sizes = Sizes({"embedding": encoder.dim})
    try:
        matcher = deserialize(
            _matcher_data(header), "fit", arrays, Part(ToolMatcher), FIELD_RULES, sizes
        )
        feedback = _read_feedback(header["taught"], arrays, sizes)
    except (InputError, RecursionError) as error:
        raise PersistenceError(
            f"{folder / HEADER_FILE} is damaged: {error}; save the tool ranker again"
        ) from error
    return {"encoder": encoder, "matcher": matcher, "feedback": feedback}


def _matcher_data(header: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the saved matcher with the names of today."""
    fit = header["fit"]
    return rename_fields(fit, _FORMAT_1) if header["format"] == 1 else fit


def _read_feedback(names: Sequence[str], arrays: ArrayDict, sizes: Sizes) -> Feedback:
    check_field("taught", names, Names("taught"), sizes)
    keys = [_feedback_key(i) for i in range(len(names))]
    for key in keys:
        check_field(key, arrays.get(key), Array("embedding"), sizes)
    return Feedback({name: arrays[key] for name, key in zip(names, keys, strict=True)})


def _feedback_key(index: int) -> str:
    return f"taught.{index}"
