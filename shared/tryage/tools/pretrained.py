"""A ranker as a folder, a Hub repository or the bundled one: saved, pushed, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import PersistenceError
from tryage.perception.encoder import load_encoder
from tryage.perception.headers import read_header
from tryage.perception.packing import Arrays, pack, unpack
from tryage.pretrained import BUNDLED as ROUTER
from tryage.pretrained import find_folder
from tryage.tools.card import ranker_card
from tryage.tools.feedback import Feedback
from tryage.tools.fit import Fit

if TYPE_CHECKING:
    from tryage.tools.ranker import ToolRanker

    AnyRanker = TypeVar("AnyRanker", bound="Pretrained")

FORMAT = 1
BUNDLED = Path(__file__).parents[1] / "bundled" / "tools"  # reads with the router's encoder
HEADER, WEIGHTS = "ranker.json", "ranker.safetensors"
_FIELDS: dict[str, type | tuple[type, ...]] = {"format": int, "fit": dict, "taught": list}


class Pretrained:
    """Lends a ranker its way to a folder and to the Hub, and back."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the ranker to a folder: safetensors and JSON, never pickle, and a model card."""
        _write(self, Path(folder))  # type: ignore[arg-type]  # the only class with this base

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - see tryage.hub.repo
        """Save the ranker to a repository of the Hub and return the commit's address.

        Raises:
            PersistenceError: the Hub refuses or does not answer.
        """
        from tryage.hub.repo import push

        hub = {"commit_message": "Add a tool ranker", **hub}
        return push(lambda folder: _write(self, folder), repo_id, **hub)  # type: ignore[arg-type]  # as above

    @classmethod
    def from_pretrained(
        cls: type[AnyRanker],
        name_or_path: str | Path | None = None,
        **hub: Any,  # noqa: ANN401 - what snapshot_download takes
    ) -> AnyRanker:
        """Read a ranker: the bundled one, a folder, or a Hub repository by its id.

        Raises:
            PersistenceError: nothing is there, it is damaged, or from a newer version.
        """
        if name_or_path is None:
            return _read(cls, BUNDLED, ROUTER / "encoder")
        folder = find_folder(name_or_path, hub, "ToolRanker.save_pretrained", "name/ranker")
        return _read(cls, folder, folder / "encoder")


def save_fit(fit: Fit, feedback: Feedback, folder: Path) -> None:
    """Write what was learned, without the encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    packed = pack(fit, "fit", arrays)
    taught = sorted(feedback.sums)
    arrays |= {f"taught.{place}": feedback.sums[name] for place, name in enumerate(taught)}
    stored = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    (folder / WEIGHTS).write_bytes(save(stored))
    header = {"format": FORMAT, "fit": packed, "taught": taught}
    (folder / HEADER).write_text(json.dumps(header, indent=1) + "\n", "utf-8")


def _write(ranker: ToolRanker, folder: Path) -> None:
    save_fit(ranker.fit, ranker.feedback, folder)
    ranker.encoder.save(folder / "encoder")
    (folder / "README.md").write_text(ranker_card(ranker), "utf-8")


def _read(cls: type[AnyRanker], folder: Path, encoder: Path) -> AnyRanker:
    header = read_header(folder / HEADER, "tool ranker", FORMAT, _FIELDS)
    try:
        arrays = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise PersistenceError(f"{folder} holds no readable tool ranker: {error}") from error
    fit = unpack(header["fit"], arrays, (Fit,))
    missing = [name for i, name in enumerate(header["taught"]) if f"taught.{i}" not in arrays]
    if missing or not isinstance(fit, Fit):
        raise PersistenceError(f"{folder / HEADER} is damaged; save the tool ranker again")
    sums = {name: arrays[f"taught.{i}"] for i, name in enumerate(header["taught"])}
    return cls(load_encoder(encoder), fit, Feedback(sums))  # type: ignore[call-arg]  # ToolRanker
