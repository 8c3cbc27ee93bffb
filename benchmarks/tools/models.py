"""Models that an agent calls: one that needs its tool to be there, and a real small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from tryage.tools import Tool

_ASKED = (
    "You choose tools. Answer with the names of the tools that serve the request best, "
    "the best first, one name per line."
)
_CROPS = (10_000, 400, 200, 100, 60, 30, 0)  # characters of a description, as there is room
_START, _END = 1, 2  # <|im_start|> and <|im_end|> of SmolLM2
_ROOM = 400  # tokens kept for the request and the answer


class Needing:
    """Calls the tools that a query needs if they are shown, and knows no others."""

    def __init__(self, needed: Mapping[str, Sequence[str]]) -> None:
        self.needed = needed

    def choose(self, query: str, tools: Sequence[Tool], k: int) -> list[str]:
        """Return the needed tools that are shown."""
        shown = {tool.name for tool in tools}
        return [name for name in self.needed[query] if name in shown][:k]


class Small:
    """A small language model of the Llama kind, from a folder; it can only write names of tools.

    Greedy decoding over the names, so it never invents one, which is more than it is given in
    practice. What it has read of the same tools is kept. Descriptions are cropped to its context.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer
        from transformers import LlamaForCausalLM, logging

        logging.disable_progress_bar()
        self.model = LlamaForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._read: tuple[tuple[str, ...], int, Any] = ((), 0, None)

    def choose(self, query: str, tools: Sequence[Tool], k: int) -> list[str]:
        """Return the first `k` names that it writes."""
        import torch

        with torch.inference_mode():
            length, cache = self._listed(tools)
            asked = self._ids(f"\n\nRequest: {query}")[: _ROOM // 2]
            scores = self._go_on([*asked, *self._turn("assistant\n")], cache)
            left, chosen = {tool.name: self._ids(f"{tool.name}\n") for tool in tools}, []
            while left and len(chosen) < k:
                name, scores = self._write_one(left, scores, cache)
                chosen.append(name)
                del left[name]
            cache.crop(length - cache.get_seq_length())
        return chosen

    def _write_one(
        self, names: Mapping[str, list[int]], scores: np.ndarray, cache: object
    ) -> tuple[str, np.ndarray]:
        """Write the likeliest name, token by token."""
        possible, at = dict(names), 0
        while True:
            allowed = sorted({ids[at] for ids in possible.values()})
            token = allowed[int(scores[allowed].argmax())]
            possible = {name: ids for name, ids in possible.items() if ids[at] == token}
            scores, at = self._go_on([token], cache), at + 1
            done = [name for name, ids in possible.items() if len(ids) == at]
            if done:
                return done[0], scores

    def _listed(self, tools: Sequence[Tool]) -> tuple[int, Any]:
        """Read the list of tools, unless it was read last."""
        from transformers import DynamicCache

        names = tuple(tool.name for tool in tools)
        if names != self._read[0]:
            cache, ids = DynamicCache(config=self.model.config), self._cropped(tools)
            self._go_on(ids, cache)
            self._read = names, len(ids), cache
        return self._read[1:]

    def _cropped(self, tools: Sequence[Tool]) -> list[int]:
        room = min(self.model.config.max_position_embeddings, 8_192) - 2 * _ROOM
        for crop in _CROPS:
            told = "\n".join(f"- {tool.name}: {tool.description[:crop]}" for tool in tools)
            start = [_START, *self._ids(f"system\n{_ASKED}")]
            ids = [*start, *self._turn(f"user\nTools:\n{told}")]
            if len(ids) <= room:
                return ids
        return ids[:room]

    def _turn(self, text: str) -> list[int]:
        """Write the end of one turn and the start of the next."""
        return [_END, *self._ids("\n"), _START, *self._ids(text)]

    def _go_on(self, ids: list[int], cache: object) -> np.ndarray:
        import torch

        out = self.model(
            torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return out.logits[0, -1].numpy()

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids
