"""The model card of a saved ranker: what it is, how to use it, what it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tryage.tools.ranker import ToolRanker

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


def ranker_card(ranker: ToolRanker) -> str:
    """Write the card, in Markdown with the Hub's YAML header."""
    encoder = ranker.encoder
    return _CARD.format(
        encoder=type(encoder).__name__, dim=encoder.dim, taught=len(ranker.feedback)
    )
