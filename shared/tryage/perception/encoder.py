"""What every encoder promises: prompts in, unit vectors and tokens out; saved and read back."""

from __future__ import annotations

import json
import string
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from tryage.errors import InputError, PersistenceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from tokenizers import Encoding

    from tryage.core.arrays import Float32Array, Int64Array

ENCODER_HEADER_FILE = "encoder.json"

ENCODER_FORMAT = 1

BUNDLED_TRANSFORMER = Path(__file__).parent / "bundled_transformer"  # the bundled accurate encoder

_TINY = np.finfo(np.float32).tiny

TABLE_FILE, TOKENIZER_FILE = "table.safetensors", "tokenizer.json"

# No text has more than a few characters per token; this bounds the time that a prompt of a
# million characters can take, and leaves every prompt that fits a usual context whole.
MAX_CHARACTERS = 65_536

BATCH_SIZE = 1_024

SMALL_BATCH = 8  # texts that are read before a pool of threads has woken up

_WORD_BOUNDARIES = frozenset(
    " \t\r\n" + string.punctuation
)  # what ends a word, whatever it is next to


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

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros."""
        ...

    def token_ids(self, prompts: Sequence[str]) -> Sequence[NDArray[np.int64]]:
        """Token ids of each prompt, without special tokens."""
        ...

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each prompt `(batch,)`, in this encoder's tokenizer."""
        ...

    def save(self, folder: Path) -> None:
        """Write the encoder to a folder: safetensors, ONNX and JSON, never pickle."""
        ...


class SavedEncoder(Protocol):
    """An encoder class that can be read back from a folder."""

    KIND: ClassVar[str]

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Read the encoder that `save` wrote."""
        ...


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        PersistenceError: it is missing or damaged.

    """
    try:
        text = path.read_text("utf-8")
        json.loads(text)  # tokenizers raises a bare Exception on damaged files
    except (OSError, ValueError) as error:
        raise PersistenceError(f"{path} is missing or damaged: {error}") from error
    return Tokenizer.from_str(text)


def write_encoder_header(folder: Path, kind: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write what an encoder is, beside its weights."""
    header = {"format": ENCODER_FORMAT, "kind": kind, **fields}
    (folder / ENCODER_HEADER_FILE).write_text(json.dumps(header, indent=1) + "\n", "utf-8")


def read_encoder_header(folder: Path) -> dict[str, Any]:
    """Read and check the header of a saved encoder.

    Raises:
        PersistenceError: it is missing, damaged or from a newer version.

    """
    path = folder / ENCODER_HEADER_FILE
    try:
        header = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PersistenceError(
            f"{folder} holds no encoder: {ENCODER_HEADER_FILE} cannot be read"
        ) from error
    except ValueError as error:
        raise PersistenceError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(header, dict) or "kind" not in header:
        raise PersistenceError(f"{path} is damaged: it does not name the kind of the encoder")
    if header.get("format", 0) > ENCODER_FORMAT:
        raise PersistenceError(
            f"{path} has format {header['format']}, this version reads up to {ENCODER_FORMAT}: "
            "upgrade with pip install -U tryage"
        )
    return header


class TokenizingEncoder:
    """What encoders share that read prompts through one `PromptTokenizer`."""

    _tokenizer: PromptTokenizer

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return self._tokenizer.vocabulary

    def token_ids(self, prompts: Sequence[str]) -> list[Int64Array]:
        """Token ids of each prompt, without special tokens."""
        return self._tokenizer.ids(prompts)

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each whole prompt `(batch,)`, without special tokens."""
        return self._tokenizer.count(prompts)


class StaticEncoder(TokenizingEncoder):
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
        self._tokenizer = PromptTokenizer(tokenizer)
        if table.shape[:1] != scales.shape or len(table) < self.vocabulary:
            raise InputError(
                f"the table is {table.shape} with scales {scales.shape}; the tokenizer needs "
                f"({self.vocabulary}, dim) with one scale per row"
            )
        self._table, self._scales = table, scales.astype(np.float16)
        self._embeddings = np.multiply(table, self._scales[:, None], dtype=np.float32)
        self._max_length = max_length

    @classmethod
    def from_rows(
        cls, rows: Float32Array, tokenizer: Tokenizer, max_length: int = 512
    ) -> StaticEncoder:
        """Quantise trained rows `(vocabulary, dim)`, whose lengths are the token weights."""
        scales = (np.abs(rows).max(1) / 127).astype(np.float16)
        safe = np.where(scales > 0, scales, 1).astype(np.float32)
        table = np.clip(np.rint(rows / safe[:, None]), -127, 127).astype(np.int8)
        return cls(table, scales, tokenizer, max_length)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self._table.shape[1])

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros.

        Raises:
            InputError: a single string, or something that is not text, was given.

        """
        sums = np.zeros((len(prompts), self.dim), np.float32)
        # one small gather a prompt stays in the cache: ten times as fast as one large reduceat
        for row, ids in enumerate(self._tokenizer.ids(prompts)):
            few = self._embeddings.take(head_and_tail(ids, self._max_length), 0)
            np.add.reduce(few, 0, out=sums[row])
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        sums /= np.maximum(lengths, _TINY)[:, None]
        return sums

    def save(self, folder: Path) -> None:
        """Write `encoder.json`, `table.safetensors` and `tokenizer.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {"table": self._table, "scales": self._scales}
        (folder / TABLE_FILE).write_bytes(
            save(arrays)
        )  # save_file would leave it to its owner alone
        self._tokenizer.tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
        write_encoder_header(folder, self.KIND, dim=self.dim, max_length=self._max_length)

    @classmethod
    def load(cls, folder: Path) -> StaticEncoder:
        """Read the folder that `save` wrote.

        Raises:
            PersistenceError: a file is missing or damaged.

        """
        header = read_encoder_header(folder)
        try:
            arrays = load_file(folder / TABLE_FILE)
            table, scales = arrays["table"], arrays["scales"]
        except (OSError, SafetensorError, KeyError) as error:
            raise PersistenceError(
                f"{folder / TABLE_FILE} is missing or damaged: {error}"
            ) from error
        return cls(table, scales, read_tokenizer(folder / TOKENIZER_FILE), header["max_length"])


def head_and_tail(ids: Int64Array, limit: int) -> Int64Array:
    """Keep the first and the last tokens of a long prompt: the task stands at either end."""
    if len(ids) <= limit:
        return ids
    tail = limit // 2
    return np.concatenate([ids[: limit - tail], ids[len(ids) - tail :]])


def truncate_text(text: str) -> str:
    """Keep the first and the last characters of a text that is too long to read."""
    if len(text) <= MAX_CHARACTERS:
        return text
    half = MAX_CHARACTERS // 2
    return f"{text[:half]} {text[-half:]}"


def length_batches(lengths: Sequence[int], tokens: int) -> Iterator[NDArray[np.intp]]:
    """Yield row numbers of batches of about equal length, at most `tokens` padded tokens each."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        full = stop < len(order) and (stop + 1 - start) * lengths[order[stop]] > tokens
        if full or stop == len(order):
            yield order[start:stop]
            start = stop


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts as clean texts: lone surrogates, which no tokenizer takes, replaced.

    Raises:
        InputError: a single string, or something that is not text, was given.

    """
    if isinstance(prompts, str):
        raise InputError("one string was given where a list of prompts belongs: wrap it in a list")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is {type(prompt).__name__}; every prompt must be a string")
    return tuple(p if p.isascii() else p.encode("utf-8", "replace").decode() for p in prompts)


class PromptTokenizer:
    """A tokenizer that takes any text, bounds the work and remembers the prompts of the last call.

    A router encodes prompts, looks at their tokens and counts them: they are tokenised once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.vocabulary: int = tokenizer.get_vocab_size()
        self._last: tuple[tuple[str, ...], list[Int64Array]] = ((), [])
        self._wordwise = is_wordwise(tokenizer)
        # before tokenizers 0.20.1 there is only the batch that computes offsets as well
        self._encode_batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def ids(self, prompts: Sequence[str]) -> list[Int64Array]:
        """Token ids of each prompt, without special tokens; beyond 65,536 characters its ends."""
        key = check_prompts(prompts)
        last, ids = self._last  # one read: another thread may replace it
        if key != last:
            ids = self._encode([truncate_text(text) for text in key])
            self._last = (key, ids)
        return ids

    def count(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each whole prompt `(batch,)`; beyond 65,536 characters scaled by length."""
        counts = [len(ids) for ids in self.ids(prompts)]
        scale = [max(1.0, len(text) / MAX_CHARACTERS) for text in prompts]
        return np.rint(np.multiply(counts, scale)).astype(np.int64)

    def _encode(self, texts: list[str]) -> list[Int64Array]:
        if len(texts) <= SMALL_BATCH:
            return self._encode_small_batch(texts)
        ids: list[Int64Array] = []
        for start in range(0, len(texts), BATCH_SIZE):
            encodings = self._encode_batch(
                texts[start : start + BATCH_SIZE], add_special_tokens=False
            )
            ids += [np.array(e.ids, np.int64) for e in encodings]
        return ids

    def _encode_small_batch(self, texts: list[str]) -> list[Int64Array]:
        """Read one text after the other; parts of the first, such as its clauses, are cut out."""
        if len(texts) < 2 or not self._wordwise:
            return [self._encode_one(text) for text in texts]
        whole = TokenizedPrompt(texts[0], self.tokenizer.encode(texts[0], add_special_tokens=False))
        parts = [(text, whole.segment_ids(text)) for text in texts[1:]]
        cut = [self._encode_one(text) if ids is None else ids for text, ids in parts]
        return [whole.ids, *cut]

    def _encode_one(self, text: str) -> Int64Array:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)


def is_wordwise(tokenizer: Tokenizer) -> bool:
    """Tell whether a word has the same tokens whatever stands around it, as with BERT's."""
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.normalizer, BertNormalizer)
    )


class TokenizedPrompt:
    """A text as a tokenizer that reads by word has read it, for parts of it to be cut out."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        self._text = text
        self.ids = np.array(encoding.ids, np.int64)
        self._starts, self._ends = tuple(zip(*encoding.offsets, strict=True)) or ((), ())

    def segment_ids(self, text: str) -> NDArray[np.int64] | None:
        """Return the token ids of a part; None if it is none, or ends in the midst of a word."""
        start = self._text.find(text)
        end = start + len(text)
        if start < 0 or not (self._is_word_boundary(start - 1) and self._is_word_boundary(end)):
            return None
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, end, first)
        cut = self._crosses_boundary(first, start) or self._crosses_boundary(last, end)
        return None if cut else self.ids[first:last]

    def _crosses_boundary(self, token: int, at: int) -> bool:
        """Tell whether the token before `token` does: one may be made of several words."""
        return token > 0 and self._ends[token - 1] > at

    def _is_word_boundary(self, at: int) -> bool:
        return not 0 <= at < len(self._text) or self._text[at] in _WORD_BOUNDARIES
