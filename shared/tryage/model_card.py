"""The model card of a saved router: what it is, what was measured, how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tryage.experts import Library
    from tryage.perception.learned import LearnedPerception

_SHOWN = 12
_BY_TRAITS = (
    "guessed from parameters, age, family and other facts, as far as these\n"
    "  told the abilities of its own experts; less sure, and it says how much"
)
_BY_THE_CROWD = "taken to be like the mean of its own, unsurely"

_CARD = """---
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


def model_card(perception: LearnedPerception, library: Library) -> str:
    """Write the card, in Markdown with the Hub's YAML header."""
    names = list(library.names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return _CARD.format(
        experts=len(names),
        encoder=f"{type(perception.encoder).__name__}, {perception.encoder.dim} dimensions",
        names=", ".join(f"`{name}`" for name in names[:_SHOWN]) + more,
        strangers=_BY_TRAITS if perception.kinship.groups else _BY_THE_CROWD,
        figures=_figures(perception),
    )


def _figures(perception: LearnedPerception) -> str:
    if not perception.report:
        return "No figures were measured."
    rows = [
        f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in perception.report.items()
    ]
    return "\n".join(["| what | value |", "|---|---|", *rows])
