"""Models that choose tools in an agent: a fake that knows the right ones, and a real small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from tryage.tools import Tool

_INSTRUCTIONS = (
    "You choose tools. Answer with the names of the tools that serve the request best, "
    "the best first, one name per line."
)
_CROPS = (10_000, 400, 200, 100, 60, 30, 0)  # characters of a description; the longest that fits
_START, _END = 1, 2  # <|im_start|> and <|im_end|> of SmolLM2
_RESERVED = 400  # tokens for the request and the answer


class OracleModel:
    """Calls the tools that a query needs if they are in its prompt, and no others."""

    def __init__(self, needed: Mapping[str, Sequence[str]]) -> None:
        self.needed = needed

    def choose(self, query: str, tools: Sequence[Tool], k: int) -> list[str]:
        """Return the needed tools that are in the prompt."""
        names = {tool.name for tool in tools}
        return [name for name in self.needed[query] if name in names][:k]


class ConstrainedLM:
    """A small language model of the Llama kind, from a folder; it can only write names of tools.

    It decodes greedily over the names and so never invents one, which is better than in practice.
    It keeps its states after the last list of tools. Descriptions are cropped to its context.
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
            length, cache = self._read_list(tools)
            request = self._ids(f"\n\nRequest: {query}")[: _RESERVED // 2]
            scores = self._continue([*request, *self._turn("assistant\n")], cache)
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
        possible, i = dict(names), 0
        while True:
            allowed = sorted({ids[i] for ids in possible.values()})
            token = allowed[int(scores[allowed].argmax())]
            possible = {name: ids for name, ids in possible.items() if ids[i] == token}
            scores, i = self._continue([token], cache), i + 1
            done = [name for name, ids in possible.items() if len(ids) == i]
            if done:
                return done[0], scores

    def _read_list(self, tools: Sequence[Tool]) -> tuple[int, Any]:
        """Return length and states after the list of tools; the last list is not read again."""
        from transformers import DynamicCache

        names = tuple(tool.name for tool in tools)
        if names != self._read[0]:
            cache, ids = DynamicCache(config=self.model.config), self._cropped_list(tools)
            self._continue(ids, cache)
            self._read = names, len(ids), cache
        return self._read[1:]

    def _cropped_list(self, tools: Sequence[Tool]) -> list[int]:
        limit = min(self.model.config.max_position_embeddings, 8_192) - 2 * _RESERVED
        for crop in _CROPS:
            lines = "\n".join(f"- {tool.name}: {tool.description[:crop]}" for tool in tools)
            start = [_START, *self._ids(f"system\n{_INSTRUCTIONS}")]
            ids = [*start, *self._turn(f"user\nTools:\n{lines}")]
            if len(ids) <= limit:
                return ids
        return ids[:limit]

    def _turn(self, text: str) -> list[int]:
        """Write the end of one turn and the start of the next."""
        return [_END, *self._ids("\n"), _START, *self._ids(text)]

    def _continue(self, ids: list[int], cache: object) -> np.ndarray:
        import torch

        out = self.model(
            torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return out.logits[0, -1].numpy()

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids
