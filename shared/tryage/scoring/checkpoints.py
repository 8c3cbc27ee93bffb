"""Model checkpoints: safetensors and GGUF are read; a repository's code and pickles never run."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.core.expert import Expert
from tryage.core.validation import require_extra
from tryage.errors import InputError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterable

GGUF_SUFFIX = ".gguf"

_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")


def load_model_and_tokenizer(source: str, auto_class: str, device: str | None) -> tuple[Any, Any]:
    """Return the model, in evaluation mode, and its tokenizer.

    `source` is a folder, a .gguf file or a Hub id; `auto_class` is the Auto class of transformers
    that reads it.

    Raises:
        MeasurementError: the checkpoint cannot be read without running its code.
        MissingExtraError: torch or transformers is not installed.
    """
    for package in ("torch", "transformers"):
        require_extra(package, "train")
    for package in ("gguf", "accelerate") if source.endswith(GGUF_SUFFIX) else ():
        require_extra(package, "gguf")
    import transformers

    name, options = _from_pretrained_args(source)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
        model = getattr(transformers, auto_class).from_pretrained(
            name, use_safetensors=None if "gguf_file" in options else True, **options
        )
    except Exception as error:  # readers of foreign files raise anything
        raise MeasurementError(
            f"{source} cannot be read as {auto_class}: {str(error)[:300]} Expected a folder with "
            "config.json, a fast tokenizer and safetensors, or a .gguf file; pickled weights and "
            "models with code of their own are not read."
        ) from error
    if not tokenizer.is_fast:
        raise MeasurementError(
            f"{source} has no fast tokenizer (tokenizer.json), which is needed for offsets."
        )
    try:
        return model.to(device or "cpu").eval(), tokenizer
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without that device
        raise MeasurementError(f"{source} cannot run on {device!r}: {error}") from error


def expert_from_checkpoint(source: str) -> Expert:
    """Return what is known of a checkpoint without loading it: its name and parameters.

    Raises:
        InputError: the .gguf file does not exist, or is not a GGUF file.
    """
    path = Path(source)
    if path.suffix == GGUF_SUFFIX:
        if not path.is_file():
            raise InputError(f"There is no file {source}.")
        return Expert(path.stem, parameters=_count_gguf_parameters(path))
    if not path.exists():
        return Expert(source)
    return Expert(path.resolve().name, parameters=_count_parameters(path.glob("*.safetensors")))


def _from_pretrained_args(source: str) -> tuple[str, dict[str, Any]]:
    """Return the folder or Hub id, and the options of `from_pretrained`."""
    if source.endswith(GGUF_SUFFIX):
        path = Path(source)
        return str(path.parent), {"gguf_file": path.name, "trust_remote_code": False}
    return source, {"trust_remote_code": False}


def _count_gguf_parameters(path: Path) -> float | None:
    """Count the weights from the header; None if the package that reads it is not installed."""
    if find_spec("gguf") is None:
        return None
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, IndexError, OSError) as error:
        raise InputError(f"{path} is not a GGUF file: {error}") from error
    return float(sum(int(tensor.n_elements) for tensor in tensors))


def _count_parameters(files: Iterable[Path]) -> float | None:
    """Count the weights from the headers; None if packed integers hide how many there are."""
    total = 0
    for path in files:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        if any(tensor["dtype"] not in _FLOAT_DTYPES for tensor in tensors):
            return None
        total += sum(math.prod(tensor["shape"]) for tensor in tensors)
    return float(total) or None
