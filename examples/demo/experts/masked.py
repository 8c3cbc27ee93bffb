"""Masked language models of chemistry and biology: they fill in `[MASK]`."""

from __future__ import annotations

import json
import math
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from transformers import AlbertConfig, AlbertForMaskedLM, BertConfig, BertForMaskedLM

from experts.base import RAW_BITS, package_folder
from tryage import Expert

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MASK, UNKNOWN = "[MASK]", "[UNK]"
SPECIAL = r"\[(PAD|UNK|CLS|SEP|MASK|unused\d+)\]"
# The models were trained with 15% of the tokens hidden at a time, about one in seven.
STRIDE = 7


class MaskedModel:
    """A masked language model whose tokens are the matches of a regular expression."""

    expert: Expert
    pattern: str

    def _files(self) -> tuple[Path, Path]:
        """Return the folder of config and weights, and the vocabulary."""
        raise NotImplementedError

    def _empty(self, config: dict[str, Any]) -> torch.nn.Module:
        """Return the network, without its weights."""
        raise NotImplementedError

    @cached_property
    def model(self) -> torch.nn.Module:
        """The network."""
        folder, _ = self._files()
        model = self._empty(json.loads((folder / "config.json").read_text()))
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        model.load_state_dict(weights, strict=False)
        return model.eval()

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """The number of each token."""
        _, vocabulary = self._files()
        return {token: i for i, token in enumerate(vocabulary.read_text().splitlines())}

    def answer(self, prompt: str) -> Iterator[str]:
        """Yield the prompt with every mask filled in."""
        tokens = self._tokens(prompt)
        if MASK not in tokens:
            yield f"Nothing to fill in: write {MASK} where a token is missing."
            return
        filled = iter(self._fill(tokens))
        for token in tokens:
            yield next(filled) if token == MASK else token

    def loss(self, text: str) -> float:
        """Return the masked loss in bits per byte, a seventh of the tokens hidden at a time."""
        tokens = self._tokens(text)
        known = [i for i, token in enumerate(tokens) if token in self.vocabulary]
        bits = RAW_BITS * sum(
            len(token.encode()) for token in tokens if token not in self.vocabulary
        )
        if known:
            bits += self._hidden_bits(tokens, known)
        return min(bits / len(text.encode()), RAW_BITS)

    def _hidden_bits(self, tokens: Sequence[str], known: Sequence[int]) -> float:
        shares = [known[start::STRIDE] for start in range(min(STRIDE, len(known)))]
        truth = torch.tensor(self._ids(tokens))
        hidden = truth.repeat(len(shares), 1)
        for row, share in enumerate(shares):
            hidden[row, torch.tensor(share) + 1] = self.vocabulary[MASK]
        pairs = [(row, i + 1) for row, share in enumerate(shares) for i in share]
        rows, columns = torch.tensor(pairs).T
        with torch.inference_mode():
            scores = self.model(hidden).logits[rows, columns].log_softmax(-1)
        return -float(scores.gather(1, truth[columns][:, None]).sum()) / math.log(2)

    def _fill(self, tokens: Sequence[str]) -> list[str]:
        with torch.inference_mode():
            scores = self.model(torch.tensor([self._ids(tokens)])).logits[0]
        names = list(self.vocabulary)
        special = torch.tensor([bool(re.fullmatch(SPECIAL, name)) for name in names])
        scores = scores.masked_fill(special, -math.inf)
        masked = [i + 1 for i, token in enumerate(tokens) if token == MASK]
        return [names[int(scores[i].argmax())] for i in masked]

    def _tokens(self, text: str) -> list[str]:
        # Other text becomes single characters, which count as raw bytes.
        return re.findall(rf"\[MASK\]|{self.pattern}|.", text.strip(), flags=re.DOTALL)

    def _ids(self, tokens: Sequence[str]) -> list[int]:
        unknown = self.vocabulary[UNKNOWN]
        inner = [self.vocabulary.get(token, unknown) for token in tokens]
        return [self.vocabulary["[CLS]"], *inner, self.vocabulary["[SEP]"]]


class RxnMapper(MaskedModel):
    """The ALBERT behind RXNMapper: chemical reactions written as SMILES."""

    expert = Expert("rxnmapper-albert", parameters=736_079, license="mit", context_length=512)
    pattern = r"\[[^\]]+]|Br?|Cl?|[NOSPFIbcnosp]|>>?|%[0-9]{2}|[|().=#\-+\\/:~@?*$0-9]"

    def _files(self) -> tuple[Path, Path]:
        models = package_folder("rxnmapper") / "models" / "transformers"
        folder = models / "albert_heads_8_uspto_all_1310k"
        return folder, folder / "vocab.txt"

    def _empty(self, config: dict[str, Any]) -> torch.nn.Module:

        return AlbertForMaskedLM(AlbertConfig(**_sizes(config)))


class RxnFp(MaskedModel):
    """The BERT behind rxnfp: reactions as well, but larger; not one of the demo's four."""

    expert = Expert("rxnfp-bert", parameters=6_675_535, license="mit", context_length=512)
    pattern = RxnMapper.pattern

    def _files(self) -> tuple[Path, Path]:
        folder = package_folder("rxnfp") / "models" / "transformers" / "bert_pretrained"
        return folder, folder / "vocab.txt"

    def _empty(self, config: dict[str, Any]) -> torch.nn.Module:

        return BertForMaskedLM(BertConfig(**_sizes(config)))


class AntiBerty(MaskedModel):
    """AntiBERTy: amino-acid sequences of antibodies."""

    expert = Expert("antiberty", parameters=25_759_769, license="mit", context_length=510)
    pattern = r"[A-Z]"

    def _files(self) -> tuple[Path, Path]:
        models = package_folder("antiberty") / "trained_models"
        return models / "AntiBERTy_md_smooth", models / "vocab.txt"

    def _empty(self, config: dict[str, Any]) -> torch.nn.Module:

        return BertForMaskedLM(BertConfig(**_sizes(config)))


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Keep the sizes of the network; old files also have settings that newer versions refuse."""
    kept = ("hidden_act", "layer_norm_eps", "vocab_size", "max_position_embeddings")
    ends = ("_size", "_layers", "_heads")
    return {key: value for key, value in config.items() if key in kept or key.endswith(ends)}
