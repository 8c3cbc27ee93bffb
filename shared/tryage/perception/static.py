"""The fast encoder: the mean of a table's rows, one row per token; numpy and tokenizers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import InputError, PersistenceError
from tryage.perception.encoder import Floats, read_header, read_tokenizer, write_header
from tryage.perception.tokens import PromptTokenizer, ReadsTokens, head_and_tail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

_TINY = np.finfo(np.float32).tiny
TABLE, TOKENS = "table.safetensors", "tokenizer.json"


class StaticEncoder(ReadsTokens):
    """Embeds a prompt as the weighted mean of the rows of its tokens, scaled to unit length.

    The table `(vocabulary, dim)` holds int8 with one scale per row: the weight of a token is a
    part of its scale, so the weighted mean is a plain sum. A prompt longer than `max_length`
    tokens is read at its two ends. After model2vec (Tulkens and van Dongen, 2024).
    """

    KIND: ClassVar[str] = "static"

    def __init__(
        self,
        table: NDArray[np.int8],
        scales: NDArray[np.floating[Any]],
        tokenizer: Tokenizer,
        max_length: int = 512,
    ) -> None:
        self._tokens = PromptTokenizer(tokenizer)
        if table.shape[:1] != scales.shape or len(table) < self.vocabulary:
            raise InputError(
                f"the table is {table.shape} with scales {scales.shape}; the tokenizer needs "
                f"({self.vocabulary}, dim) with one scale per row"
            )
        self._table, self._scales = table, scales.astype(np.float16)
        self._rows = np.multiply(table, self._scales[:, None], dtype=np.float32)
        self._max_length = max_length

    @classmethod
    def from_rows(cls, rows: Floats, tokenizer: Tokenizer, max_length: int = 512) -> StaticEncoder:
        """Quantise trained rows `(vocabulary, dim)`, whose lengths are the token weights."""
        scales = (np.abs(rows).max(1) / 127).astype(np.float16)
        safe = np.where(scales > 0, scales, 1).astype(np.float32)
        table = np.clip(np.rint(rows / safe[:, None]), -127, 127).astype(np.int8)
        return cls(table, scales, tokenizer, max_length)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self._table.shape[1])

    def encode(self, prompts: Sequence[str]) -> Floats:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros.

        Raises:
            InputError: a single string, or something that is not text, was given.

        """
        sums = np.zeros((len(prompts), self.dim), np.float32)
        # one small gather a prompt stays in the cache: ten times as fast as one large reduceat
        for row, ids in enumerate(self._tokens.ids(prompts)):
            few = self._rows.take(head_and_tail(ids, self._max_length), 0)
            np.add.reduce(few, 0, out=sums[row])
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        sums /= np.maximum(lengths, _TINY)[:, None]
        return sums

    def save(self, folder: Path) -> None:
        """Write `encoder.json`, `table.safetensors` and `tokenizer.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {"table": self._table, "scales": self._scales}
        (folder / TABLE).write_bytes(save(arrays))  # save_file would leave it to its owner alone
        self._tokens.tokenizer.save(str(folder / TOKENS), pretty=False)
        write_header(folder, self.KIND, dim=self.dim, max_length=self._max_length)

    @classmethod
    def load(cls, folder: Path) -> StaticEncoder:
        """Read the folder that `save` wrote.

        Raises:
            PersistenceError: a file is missing or damaged.

        """
        header = read_header(folder)
        try:
            arrays = load_file(folder / TABLE)
            table, scales = arrays["table"], arrays["scales"]
        except (OSError, SafetensorError, KeyError) as error:
            raise PersistenceError(f"{folder / TABLE} is missing or damaged: {error}") from error
        return cls(table, scales, read_tokenizer(folder / TOKENS), header["max_length"])
