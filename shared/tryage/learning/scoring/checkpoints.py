"""Reading `transformers` checkpoints: safetensors and GGUF; a repo's code and pickles never run."""

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

GGUF = ".gguf"

_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")


def load_model_and_tokenizer(source: str, auto_class: str, device: str | None) -> tuple[Any, Any]:
    """Return the model, ready to be asked, and its tokeniser.

    `source` is a folder, a .gguf file or a Hub id, `network` the Auto class that reads it.

    Raises:
        MeasurementError: it cannot be read without running code from it.
        MissingExtraError: torch or transformers is not installed.
    """
    for package in ("torch", "transformers"):
        require_extra(package, "train")
    for package in ("gguf", "accelerate") if source.endswith(GGUF) else ():
        require_extra(package, "gguf")
    import transformers

    place, options = _from_pretrained_args(source)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
        model = getattr(transformers, auto_class).from_pretrained(
            place, use_safetensors=None if "gguf_file" in options else True, **options
        )
    except Exception as error:  # readers of foreign files raise anything
        raise MeasurementError(
            f"{source} cannot be read as {auto_class}: {str(error)[:300]} Expected a folder with "
            "config.json, a fast tokeniser and safetensors, or a .gguf file; pickled weights and "
            "models with code of their own are not read."
        ) from error
    if not tokenizer.is_fast:
        raise MeasurementError(
            f"{source} has no fast tokeniser (tokenizer.json), which tells offsets."
        )
    try:
        return model.to(device or "cpu").eval(), tokenizer
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without that device
        raise MeasurementError(f"{source} cannot run on {device!r}: {error}") from error


def expert_from_checkpoint(source: str) -> Expert:
    """Return what a checkpoint tells of itself without being loaded: its name and parameters.

    Raises:
        InputError: a .gguf file that is not there, or is none.
    """
    path = Path(source)
    if path.suffix == GGUF:
        if not path.is_file():
            raise InputError(f"There is no file {source}.")
        return Expert(path.stem, parameters=_count_gguf_parameters(path))
    if not path.exists():
        return Expert(source)
    return Expert(path.resolve().name, parameters=_count_parameters(path.glob("*.safetensors")))


def _from_pretrained_args(source: str) -> tuple[str, dict[str, Any]]:
    """Return the folder or Hub id, and how to read it."""
    if source.endswith(GGUF):
        path = Path(source)
        return str(path.parent), {"gguf_file": path.name, "trust_remote_code": False}
    return source, {"trust_remote_code": False}


def _count_gguf_parameters(path: Path) -> float | None:
    """Count the weights by the header; None without the package that reads it."""
    if find_spec("gguf") is None:
        return None
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, IndexError, OSError) as error:
        raise InputError(f"{path} is no GGUF file: {error}") from error
    return float(sum(int(tensor.n_elements) for tensor in tensors))


def _count_parameters(files: Iterable[Path]) -> float | None:
    """Count the weights by the headers alone; packed integers do not tell how many they hold."""
    total = 0
    for path in files:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        if any(tensor["dtype"] not in _FLOAT_DTYPES for tensor in tensors):
            return None
        total += sum(math.prod(tensor["shape"]) for tensor in tensors)
    return float(total) or None
