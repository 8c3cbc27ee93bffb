"""Measures a library of experts on the passages into a Q-table of losses per character."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tryage import QTable
from tryage.scoring.measurement import Prompt
from tryage.scoring.run import score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from corpora import Corpus

    from tryage.scoring.measurement import Measurer


def sample_prompts(corpora: Sequence[Corpus], sizes: Mapping[str, int]) -> list[Prompt]:
    """Draw `sizes` passages of each part (`router`, `test`) of each domain, the same every time.

    A larger sample contains a smaller one, so that no passage is measured twice. A passage of two
    domains belongs to the first.
    """
    found: dict[str, Prompt] = {}
    for corpus in corpora:
        for part, size in sizes.items():
            for text in sorted(corpus.texts[part], key=_order)[:size]:
                found.setdefault(text, Prompt(text, category=corpus.name, source=part))
    return list(found.values())


def measure_table(prompts: Sequence[Prompt], experts: Sequence[Measurer], folder: Path) -> QTable:
    """Measure the missing losses, and return the table of these passages and experts.

    Losses are in nats per character, so that experts with different tokenizers are comparable. A
    passage on which one expert could not be measured is left out for all experts.
    """
    report = score(prompts, experts, folder)
    for name, reason in report.given_up.items():
        print(f"{name} could not be measured: {reason}")
    table = QTable.read(folder, loss="loss_per_char")
    names = [expert.identify().expert.name for expert in experts]
    table = table.select([name for name in names if name not in report.given_up])
    wanted = {prompt.text for prompt in prompts}
    kept = [text in wanted for text in table.prompts] & table.measured.all(axis=1)
    print(f"{folder.name}: {len(wanted) - int(kept.sum())} of {len(wanted)} passages left out")
    return table.take(np.flatnonzero(kept))


def _order(text: str) -> bytes:
    return blake2b(text.encode()).digest()
