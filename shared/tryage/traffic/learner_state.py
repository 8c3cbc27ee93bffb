"""What a learner knows after a part of the log, and its form as bytes, for snapshots."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tryage.errors import PersistenceError
from tryage.perception.abilities import Gaussian
from tryage.traffic.beliefs import Belief
from tryage.traffic.drift import DriftDetector, DriftProcess
from tryage.traffic.guard import Guard

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Suspect:
    """An expert that became worse: the `level` of its loss before, and its answers since then."""

    level: float
    answers: int = 0


@dataclass
class LearnerState:
    """All that changes with the log.

    `common` is the difference of this traffic that all experts share, in the ability space.
    `skipped` counts the rows that could not teach, by reason.
    """

    common: Gaussian
    sequence: int = 0
    beliefs: dict[str, Belief] = field(default_factory=dict)
    incumbent: int = 0
    drift: DriftDetector = field(default_factory=DriftDetector)
    guard: Guard = field(default_factory=Guard)
    suspects: dict[str, Suspect] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    n_rollbacks: int = 0

    def to_bytes(self) -> bytes:
        """Return the state as the bytes of a safetensors file."""
        header = {
            "format": STATE_FORMAT,
            "sequence": self.sequence,
            "incumbent": self.incumbent,
            "n_rollbacks": self.n_rollbacks,
            "beliefs": [[name, one.count, one.total_loss] for name, one in self.beliefs.items()],
            "processes": [
                [*key, one.surprise_sum, one.count] for key, one in self.drift.processes.items()
            ],
            "suspects": {name: asdict(one) for name, one in self.suspects.items()},
            "guard": asdict(self.guard),
            "skipped": dict(self.skipped),
        }
        beliefs, processes = self.beliefs.values(), self.drift.processes.values()
        arrays: dict[str, NDArray[Any]] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "means": _stack([one.given_common.mean for one in beliefs]),
            "covariances": _stack([one.given_common.covariance for one in beliefs]),
            "loadings": _stack([one.loading for one in beliefs]),
            "position_sums": _stack([one.position_sum for one in beliefs]),
            "common_mean": self.common.mean,
            "common_covariance": np.ascontiguousarray(self.common.covariance),
            "prior_means": _stack([one.prior.mean for one in beliefs]),
            "prior_covariances": _stack([one.prior.covariance for one in beliefs]),
            "evidence": _stack([one.evidence for one in processes]),
            "bound_sums": _stack([one.bound_sum for one in processes]),
        }
        return save(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> LearnerState:
        """Read what `to_bytes` wrote.

        Raises:
            PersistenceError: the bytes are damaged or of a newer version.
        """
        try:
            arrays = load(data)
            header = json.loads(arrays["header"].tobytes())
            if header["format"] > STATE_FORMAT:
                raise PersistenceError(
                    f"a snapshot of what was learned has format {header['format']}; this version "
                    f"reads {STATE_FORMAT}: upgrade with pip install -U tryage"
                )
            return cls(
                Gaussian(arrays["common_mean"], arrays["common_covariance"]),
                header["sequence"],
                _read_beliefs(header, arrays),
                header["incumbent"],
                DriftDetector(processes=_read_processes(header, arrays)),
                Guard(**header["guard"]),
                {name: Suspect(**one) for name, one in header["suspects"].items()},
                Counter(header["skipped"]),
                header["n_rollbacks"],
            )
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
            raise PersistenceError(f"a snapshot of what was learned is damaged: {error}") from error


def _stack(arrays: list[NDArray[Any]]) -> NDArray[np.float64]:
    return np.array(arrays, np.float64)


def _read_beliefs(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> dict[str, Belief]:
    names = ("means", "covariances", "prior_means", "prior_covariances")
    return {
        name: Belief(
            Gaussian(arrays[names[0]][i], arrays[names[1]][i]),
            Gaussian(arrays[names[2]][i], arrays[names[3]][i]),
            arrays["loadings"][i],
            arrays["position_sums"][i],
            count,
            total_loss,
        )
        for i, (name, count, total_loss) in enumerate(header["beliefs"])
    }


def _read_processes(
    header: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> dict[tuple[str, str | None], DriftProcess]:
    return {
        (expert, kind): DriftProcess(
            arrays["evidence"][i], arrays["bound_sums"][i], surprise_sum, count
        )
        for i, (expert, kind, surprise_sum, count) in enumerate(header["processes"])
    }
