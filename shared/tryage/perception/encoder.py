"""Encoders: prompts in, unit vectors and tokens out. What all of them offer, and the static one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from tryage.errors import InputError, PerceptionError, PersistenceError
from tryage.perception.field_rules import Array, Sizes, WholeNumber, check_field
from tryage.perception.serialization import read_arrays, read_header, write_arrays, write_header
from tryage.perception.tokenizer import PromptTokenizer, head_and_tail
from tryage.perception.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from tryage.core.arrays import Float32Array, IndexArray, Int64Array
    from tryage.perception.serialization import FieldTypes

ENCODER_HEADER_FILE, TABLE_FILE, TOKENIZER_FILE = (
    "encoder.json",
    "table.safetensors",
    "tokenizer.json",
)

ENCODER_FORMAT = 1

BUNDLED_TRANSFORMER = Path(__file__).parent / "bundled_transformer"  # the accurate bundled encoder

_TINY = np.finfo(np.float32).tiny

MAX_LENGTH_RULE = WholeNumber(low=3, high=2**20)  # tokens, of which two may be special ones

_TABLE_RULES = {
    "table": Array("vocabulary", "embedding", kind=np.int8),
    "scales": Array("vocabulary", low=0, high=float(np.finfo(np.float16).max)),
}


@runtime_checkable
class Encoder(Protocol):
    """Turns prompts into vectors that a head can predict losses from."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of different tokens: every token id is below it."""
        ...

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The widths of the blocks of an embedding, each of which training standardizes apart.

        Empty for an embedding that is used as it is.
        """
        return ()

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros."""
        ...

    def token_ids(self, prompts: Sequence[str]) -> Sequence[NDArray[np.int64]]:
        """Return the token ids of each prompt, without special tokens."""
        ...

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each prompt `(batch,)`, in this encoder's tokenizer."""
        ...

    def save(self, folder: Path) -> None:
        """Write the encoder to a folder: safetensors, ONNX and JSON, never pickle."""
        ...


class TokenizingEncoder:
    """The shared part of encoders that read prompts through one `PromptTokenizer`."""

    _tokenizer: PromptTokenizer

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return self._tokenizer.vocabulary

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The widths of the blocks of an embedding: none, it is used as it is."""
        return ()

    def token_ids(self, prompts: Sequence[str]) -> list[Int64Array]:
        """Return the token ids of each prompt, without special tokens."""
        return self._tokenizer.ids(prompts)

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each whole prompt `(batch,)`, without special tokens."""
        return self._tokenizer.count(prompts)


class StaticEncoder(TokenizingEncoder):
    """Embeds a prompt as the weighted mean of the rows of its tokens, scaled to unit length.

    The fast encoder: it needs numpy and tokenizers only. The table `(vocabulary, dim)` holds int8
    with one scale per row. The weight of a token is a part of its scale, so the weighted mean is a
    plain sum. If a prompt is longer than `max_length` tokens, only its two ends are read. The
    method is model2vec (Tulkens and van Dongen, 2024).
    """

    KIND: ClassVar[str] = "static"

    def __init__(
        self,
        table: NDArray[np.int8],
        scales: NDArray[np.floating[Any]],
        tokenizer: Tokenizer,
        max_length: int = 512,
    ) -> None:
        self._tokenizer = PromptTokenizer(tokenizer)
        if table.shape[:1] != scales.shape or len(table) < self.vocabulary:
            raise InputError(
                f"the table is {table.shape} with scales {scales.shape}; the tokenizer needs "
                f"({self.vocabulary}, dim) with one scale per row"
            )
        self._table, self._scales = table, scales.astype(np.float16)
        self._max_length = max_length

    @classmethod
    def from_rows(
        cls, rows: Float32Array, tokenizer: Tokenizer, max_length: int = 512
    ) -> StaticEncoder:
        """Quantize trained rows `(vocabulary, dim)`, whose lengths are the token weights."""
        scales = (np.abs(rows).max(1) / 127).astype(np.float16)
        divisors = np.where(scales > 0, scales, 1).astype(np.float32)
        table = np.clip(np.rint(rows / divisors[:, None]), -127, 127).astype(np.int8)
        return cls(table, scales, tokenizer, max_length)

    def without_tokens(self, ids: IndexArray) -> StaticEncoder:
        """Return this encoder with a weight of zero for some tokens, `(n_ids,)`."""
        scales = self._scales.copy()
        scales[ids] = 0
        return StaticEncoder(self._table, scales, self._tokenizer.tokenizer, self._max_length)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self._table.shape[1])

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros.

        Raises:
            InputError: a single string, or something that is not text, was given.
            PerceptionError: the tokenizer does not belong to the table.
        """
        sums = np.zeros((len(prompts), self.dim), np.float32)
        # One small gather per prompt stays in the cache: it is ten times as fast as one reduceat.
        for row, ids in enumerate(self._tokenizer.ids(prompts)):
            try:
                tokens = head_and_tail(ids, self._max_length)
                rows, scales = self._table.take(tokens, 0), self._scales.take(tokens)
            except IndexError as error:  # looking for the greatest id would slow down each start
                raise PerceptionError(
                    f"The tokenizer knows more tokens than the table of the encoder: {error}. "
                    "The files do not belong together; save or download the router again."
                ) from error
            # A whole table of float32 would take four times the memory, and longer to load.
            np.dot(scales.astype(np.float32), rows.astype(np.float32), out=sums[row])
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        sums /= np.maximum(lengths, _TINY)[:, None]
        return sums

    def save(self, folder: Path) -> None:
        """Write `encoder.json`, `table.safetensors` and `tokenizer.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / TABLE_FILE, {"table": self._table, "scales": self._scales})
        # Its own `save` raises no OSError on a full disk.
        (folder / TOKENIZER_FILE).write_text(self._tokenizer.tokenizer.to_str(), "utf-8")
        write_encoder_header(folder, self.KIND, dim=self.dim, max_length=self._max_length)

    @classmethod
    def load(cls, folder: Path) -> StaticEncoder:
        """Read the folder that `save` wrote.

        Raises:
            PersistenceError: a file is missing or damaged.
            InputError: a number or a shape in a file is impossible.
        """
        header = read_encoder_header(folder, {"max_length": int})
        arrays, sizes = read_arrays(folder / TABLE_FILE, "encoder"), Sizes({}, ("embedding",))
        if not _TABLE_RULES.keys() <= arrays.keys():
            raise PersistenceError(f"{folder / TABLE_FILE} is damaged: it lacks an array")
        for name, rule in _TABLE_RULES.items():
            check_field(name, arrays[name], rule, sizes)
        check_field("max_length", header["max_length"], MAX_LENGTH_RULE, sizes)
        tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
        return cls(arrays["table"], arrays["scales"], tokenizer, header["max_length"])


def write_encoder_header(folder: Path, kind: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write the header of an encoder: its kind and its settings."""
    header = {"format": ENCODER_FORMAT, "kind": kind, **fields}
    write_header(folder / ENCODER_HEADER_FILE, header)


def read_encoder_header(folder: Path, field_types: FieldTypes) -> dict[str, Any]:
    """Read the header of a saved encoder and check its fields.

    Raises:
        PersistenceError: it is missing, damaged or from a newer version.
    """
    return read_header(folder / ENCODER_HEADER_FILE, "encoder", ENCODER_FORMAT, field_types)
