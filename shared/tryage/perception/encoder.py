"""What every encoder promises: prompts in, unit vectors and tokens out; saved and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float32]
HEADER = "encoder.json"
FORMAT = 1
TRANSFORMER = Path(__file__).parents[1] / "transformer"  # the bundled accurate encoder


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

    def encode(self, prompts: Sequence[str]) -> Floats:
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


def load_encoder(folder: str | Path, kinds: Sequence[type[SavedEncoder]] = ()) -> Encoder:
    """Read a saved encoder back; `kinds` are your own encoder classes, besides the two of Tryage.

    Raises:
        PersistenceError: the folder holds no encoder, a damaged one, or one of an unknown kind.

    """
    from tryage.perception.static import StaticEncoder
    from tryage.perception.transformer import TransformerEncoder

    folder = Path(folder)
    kind = read_header(folder)["kind"]
    known: list[type[SavedEncoder]] = [*kinds, StaticEncoder, TransformerEncoder]
    for candidate in known:
        if kind == candidate.KIND:
            return candidate.load(folder)
    names = ", ".join(c.KIND for c in known)
    raise PersistenceError(f"{folder} holds an encoder of kind {kind!r}; known kinds: {names}")


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


def write_header(folder: Path, kind: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write what an encoder is, beside its weights."""
    header = {"format": FORMAT, "kind": kind, **fields}
    (folder / HEADER).write_text(json.dumps(header, indent=1) + "\n", "utf-8")


def read_header(folder: Path) -> dict[str, Any]:
    """Read and check the header of a saved encoder.

    Raises:
        PersistenceError: it is missing, damaged or from a newer version.

    """
    path = folder / HEADER
    try:
        header = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PersistenceError(f"{folder} holds no encoder: {HEADER} cannot be read") from error
    except ValueError as error:
        raise PersistenceError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(header, dict) or "kind" not in header:
        raise PersistenceError(f"{path} is damaged: it does not name the kind of the encoder")
    if header.get("format", 0) > FORMAT:
        raise PersistenceError(
            f"{path} has format {header['format']}, this version reads up to {FORMAT}: "
            "upgrade with pip install -U tryage"
        )
    return header
