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
    """An expert that became worse: what was known `before`, and its answers since then."""

    before: Belief
    answers: int = 0


@dataclass
class LearnerState:
    """All that changes with the log.

    `common` is the difference of this traffic that all experts share, in the ability space.
    `unlucky` are experts that failed surprisingly often in few answers. `skipped` counts the rows
    that could not teach, by reason.
    """

    common: Gaussian
    sequence: int = 0
    beliefs: dict[str, Belief] = field(default_factory=dict)
    incumbent: int = 0
    drift: DriftDetector = field(default_factory=DriftDetector)
    guard: Guard = field(default_factory=Guard)
    suspects: dict[str, Suspect] = field(default_factory=dict)
    unlucky: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    n_rollbacks: int = 0

    def to_bytes(self) -> bytes:
        """Return the state as the bytes of a safetensors file."""
        header = {
            "format": STATE_FORMAT,
            "sequence": self.sequence,
            "incumbent": self.incumbent,
            "n_rollbacks": self.n_rollbacks,
            "beliefs": list(self.beliefs),
            "processes": [
                [*key, one.surprise_sum, one.count] for key, one in self.drift.processes.items()
            ],
            "suspects": [[name, one.answers] for name, one in self.suspects.items()],
            "unlucky": sorted(self.unlucky),
            "guard": asdict(self.guard),
            "skipped": dict(self.skipped),
        }
        processes = self.drift.processes.values()
        arrays: dict[str, NDArray[Any]] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "common_mean": self.common.mean,
            "common_covariance": np.ascontiguousarray(self.common.covariance),
            "evidence": _stack([one.evidence for one in processes]),
            "bound_sums": _stack([one.bound_sum for one in processes]),
        }
        before = [one.before for one in self.suspects.values()]
        arrays |= _belief_arrays("beliefs", list(self.beliefs.values()))
        arrays |= _belief_arrays("suspects", before)
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
            names = header["beliefs"]
            return cls(
                Gaussian(arrays["common_mean"], arrays["common_covariance"]),
                header["sequence"],
                dict(zip(names, _read_beliefs("beliefs", arrays, len(names)), strict=True)),
                header["incumbent"],
                DriftDetector(processes=_read_processes(header, arrays)),
                Guard(**header["guard"]),
                _read_suspects(header, arrays),
                set(header["unlucky"]),
                Counter(header["skipped"]),
                header["n_rollbacks"],
            )
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
            raise PersistenceError(f"a snapshot of what was learned is damaged: {error}") from error


def _stack(arrays: list[NDArray[Any]]) -> NDArray[np.float64]:
    return np.array(arrays, np.float64)


def _belief_arrays(prefix: str, beliefs: list[Belief]) -> dict[str, NDArray[Any]]:
    """Return beliefs as arrays, one row each."""
    columns = {
        "means": [one.given_common.mean for one in beliefs],
        "covariances": [one.given_common.covariance for one in beliefs],
        "prior_means": [one.prior.mean for one in beliefs],
        "prior_covariances": [one.prior.covariance for one in beliefs],
        "loadings": [one.loading for one in beliefs],
        "position_sums": [one.position_sum for one in beliefs],
        "counts": [np.array([one.count, one.total_loss]) for one in beliefs],
    }
    return {f"{prefix}_{name}": _stack(rows) for name, rows in columns.items()}


def _read_beliefs(prefix: str, arrays: dict[str, NDArray[Any]], n: int) -> list[Belief]:
    def column(name: str) -> NDArray[Any]:
        return arrays[f"{prefix}_{name}"]

    return [
        Belief(
            Gaussian(column("means")[i], column("covariances")[i]),
            Gaussian(column("prior_means")[i], column("prior_covariances")[i]),
            column("loadings")[i],
            column("position_sums")[i],
            int(column("counts")[i, 0]),
            float(column("counts")[i, 1]),
        )
        for i in range(n)
    ]


def _read_suspects(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> dict[str, Suspect]:
    before = _read_beliefs("suspects", arrays, len(header["suspects"]))
    pairs = zip(header["suspects"], before, strict=True)
    return {name: Suspect(belief, answers) for (name, answers), belief in pairs}


def _read_processes(
    header: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> dict[tuple[str, str | None], DriftProcess]:
    return {
        (expert, kind): DriftProcess(
            arrays["evidence"][i], arrays["bound_sums"][i], surprise_sum, count
        )
        for i, (expert, kind, surprise_sum, count) in enumerate(header["processes"])
    }
