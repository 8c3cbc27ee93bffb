"""The encoder that reads the hidden states of a language model of your choice."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tryage.errors import InputError, PerceptionError, PersistenceError
from tryage.files import folder_exists
from tryage.perception.encoder import (
    MAX_LENGTH_RULE,
    TOKENIZER_FILE,
    TokenizingEncoder,
    read_encoder_header,
    write_encoder_header,
)
from tryage.perception.field_rules import Sizes, check_field
from tryage.perception.language_model import DTYPES, POOLINGS, LanguageModel
from tryage.perception.tokenizer import PromptTokenizer, head_and_tail
from tryage.perception.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array, Int64Array
    from tryage.perception.serialization import FieldTypes

PROMPT_FIELD = "{prompt}"  # where the prompt stands in a template

_MODEL_FOLDER = "model"  # of copied weights, in the folder of the encoder

_HEADER_FIELDS: FieldTypes = {
    "model": str,
    "revision": (str, type(None)),
    "layers": list,
    "poolings": list,
    "template": str,
    "max_length": int,
    "dtype": str,
}


class HiddenStateEncoder(TokenizingEncoder):
    """Embeds a prompt as hidden states of a language model, before it answers.

    Whether a model finds a task hard shows in the states of its middle layers, better than in the
    words of the task. Each layer and pooling is a block of its own: `fit` standardizes each block
    by the training prompts and fits a regression on each.

    Args:
        model: The folder of a causal or an encoder language model with safetensors and a
            `tokenizer.json`, or the id of one on the Hugging Face Hub.
        layers: The layers to read, from 1 to the number of layers, or from the end (-1 is the last
            one); by default those at half and at three quarters of the depth.
        pooling: "mean" of a prompt's tokens, "last" (the state of the last token), or several.
        revision: A commit, branch or tag of a model of the Hub.
        template: What the model reads, with the prompt at `{prompt}`. Of a causal model, what
            stands before the prompt is computed once.
        max_length: The most tokens to read of a prompt; of a longer one, its two ends.
        device: Such as "cpu" or "cuda:1"; by default the GPU if there is one.
        dtype: "float32", "bfloat16" or "float16".
        trust_remote_code: Whether code in the model's folder may run. This is never saved, and no
            code is downloaded.
        copy_weights: Whether `save` copies the model's files. Otherwise it notes where they are.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        PersistenceError: there is no such model, or it cannot be read.
        InputError: an argument is not one of those.
    """

    KIND: ClassVar[str] = "hidden-state"

    def __init__(  # noqa: PLR0913 - what to read, of which model, how to run it
        self,
        model: str | Path,
        layers: Sequence[int] | None = None,
        pooling: str | Sequence[str] = POOLINGS,
        *,
        revision: str | None = None,
        template: str = PROMPT_FIELD,
        max_length: int = 160,
        device: str | None = None,
        dtype: str = "float32",
        trust_remote_code: bool = False,
        copy_weights: bool = False,
    ) -> None:
        self._poolings = _check_poolings(pooling)
        _check_settings(template, max_length, dtype)
        self._template, self._max_length, self._dtype = template, max_length, dtype
        self._copy_weights = copy_weights
        self._folder, self._model, self._revision = _find_model(model, revision)
        self._tokenizer = PromptTokenizer(read_tokenizer(self._folder / TOKENIZER_FILE))
        prefix_ids, suffix_ids = _template_ids(self._tokenizer, template)
        self._language_model = LanguageModel(
            self._folder,
            layers,
            self._poolings,
            prefix_ids=prefix_ids,
            suffix_ids=suffix_ids,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        _check_positions(
            self._language_model.max_positions, len(prefix_ids) + max_length + len(suffix_ids)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made of: the settings. It reads the model again."""
        return _rebuild, (self._settings(), str(self._folder), self._copy_weights)

    def __repr__(self) -> str:
        """Name the model and what is read of it."""
        layers, poolings = self.layers, self._poolings
        return f"HiddenStateEncoder({self._model!r}, layers={layers}, pooling={poolings})"

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are read, counted from 1."""
        return self._language_model.layers

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return sum(self.block_sizes)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The width of each block: the poolings of the first layer, then those of the next."""
        return (self._language_model.width,) * (len(self.layers) * len(self._poolings))

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros.

        All blocks of a row have the same length.

        Raises:
            InputError: a single string, or something that is not text, was given.
            PerceptionError: a state is not finite.
        """
        ids = [head_and_tail(own, self._max_length) for own in self._tokenizer.ids(prompts)]
        blocks = np.zeros((len(ids), len(self.block_sizes), self._language_model.width), np.float32)
        rows = [row for row, own in enumerate(ids) if len(own)]
        if rows:
            states = self._language_model.pooled_states([ids[row] for row in rows])
            if not np.isfinite(states).all():
                raise PerceptionError(
                    f"{self._model} has states that are not finite in {self._dtype}: use float32 "
                    "or bfloat16"
                )
            lengths = np.linalg.norm(states, axis=2, keepdims=True)
            blocks[rows] = states / np.maximum(lengths, np.finfo(np.float32).tiny)
        return np.asarray(blocks.reshape(len(ids), self.dim) / math.sqrt(len(self.block_sizes)))

    def save(self, folder: Path) -> None:
        """Write `encoder.json`, which names the model; its files are copied only if that is asked.

        A folder is named by its absolute path, a model of the Hub by its id and commit.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings = self._settings()
        if self._copy_weights:
            _copy_model(self._folder, folder / _MODEL_FOLDER)
            settings |= {"model": _MODEL_FOLDER, "revision": None}
        write_encoder_header(folder, self.KIND, **settings)

    def _settings(self) -> dict[str, Any]:
        return {
            "model": self._model,
            "revision": self._revision,
            "layers": list(self.layers),
            "poolings": list(self._poolings),
            "template": self._template,
            "max_length": self._max_length,
            "dtype": self._dtype,
        }

    @classmethod
    def load(cls, folder: Path) -> HiddenStateEncoder:
        """Read the folder that `save` wrote, and the model that it names.

        The code of a repository never runs here.

        Raises:
            PersistenceError: the header is damaged, or the model is not where it was.
            InputError: a setting in the header is impossible.
            MissingExtraError: torch or transformers is not installed.
        """
        settings = read_encoder_header(folder, _HEADER_FIELDS)
        chosen = {name: settings[name] for name in _HEADER_FIELDS}
        has_copy = chosen["model"] == _MODEL_FOLDER
        model = folder / _MODEL_FOLDER if has_copy else chosen["model"]
        try:
            return _rebuild(chosen, str(model), has_copy)
        except PersistenceError as error:
            raise PersistenceError(
                f"{folder} needs the language model {chosen['model']}, which cannot be read: "
                f'{error} Put the model there again, or write where it is now as "model" in '
                f"{folder / 'encoder.json'}."
            ) from error


def _rebuild(settings: dict[str, Any], model: str, copy_weights: bool) -> HiddenStateEncoder:
    options = {key: value for key, value in settings.items() if key not in ("model", "poolings")}
    return HiddenStateEncoder(
        model, pooling=settings["poolings"], copy_weights=copy_weights, **options
    )


def _check_poolings(pooling: str | Sequence[str]) -> tuple[str, ...]:
    poolings = tuple(pooling) if isinstance(pooling, (list, tuple)) else (pooling,)
    is_known = all(one in POOLINGS for one in poolings)
    if not poolings or not is_known or len(set(poolings)) < len(poolings):
        raise InputError(f"pooling is {pooling!r:.80}; expected {' or '.join(POOLINGS)}, or both")
    return poolings


def _check_settings(template: str, max_length: int, dtype: str) -> None:
    if not isinstance(template, str) or template.count(PROMPT_FIELD) != 1:
        raise InputError(
            f"the template is {template!r:.80}; expected a text with {PROMPT_FIELD} once"
        )
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r:.80}; expected {', '.join(DTYPES)}")
    check_field("max_length", max_length, MAX_LENGTH_RULE, Sizes({}))


def _check_positions(max_positions: int | None, n_tokens: int) -> None:
    if max_positions is not None and n_tokens > max_positions:
        raise InputError(
            f"the model reads at most {max_positions} tokens; max_length and the template make "
            f"{n_tokens}: lower max_length"
        )


def _find_model(model: str | Path, revision: str | None) -> tuple[Path, str, str | None]:
    """Return the folder of a model, its name and its revision; one of the Hub is downloaded.

    Raises:
        InputError: it is neither a path nor a text.
        PersistenceError: it is neither a folder nor the id of a repository that can be downloaded.
    """
    if not isinstance(model, (str, Path)):
        raise InputError(
            f"the model is {model!r:.80}; expected the folder of a language model, or the id of "
            "one on the Hugging Face Hub"
        )
    path = Path(model)
    if folder_exists(path):
        return path, str(path.resolve()), None
    if isinstance(model, Path) or path.is_absolute() or model.count("/") != 1:
        raise PersistenceError(
            f"{model} is not a folder; expected the folder of a language model, or the id of one "
            "on the Hugging Face Hub such as 'HuggingFaceTB/SmolLM2-135M-Instruct'."
        )
    from tryage.hub.repository import download_folder

    folder = download_folder(model, revision=revision)
    return folder, model, folder.name  # the folder of a download has the name of its commit


def _template_ids(tokenizer: PromptTokenizer, template: str) -> tuple[Int64Array, Int64Array]:
    """Return the token ids before and after a prompt: the template's and the special ones.

    Both parts of the template are tokenized apart from the prompt, so that a prompt has the same
    tokens with and without a cache of the prefix.
    """
    before, after = template.split(PROMPT_FIELD)
    first_ids, last_ids = tokenizer.special_ids_around()
    before_ids, after_ids = tokenizer.ids([before, after])
    return np.concatenate([first_ids, before_ids]), np.concatenate([after_ids, last_ids])


def _copy_model(source: Path, folder: Path) -> None:
    """Copy the files of a model that are read here."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.json", "*.safetensors"):
        for path in source.glob(pattern):
            if path.resolve() != (folder / path.name).resolve():
                shutil.copyfile(path, folder / path.name)
