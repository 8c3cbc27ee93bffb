"""What a learner knows after a part of the log, and its form as bytes, for snapshots."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tryage.core.validation import check_integer, check_number, check_strings
from tryage.errors import InputError, PersistenceError
from tryage.perception.abilities import Gaussian
from tryage.traffic.beliefs import Belief
from tryage.traffic.drift import NO_EVIDENCE, DriftDetector, DriftProcess
from tryage.traffic.guard import Guard

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATE_FORMAT = 1

# What a snapshot raises that a damaged disk or another program has written.
_DAMAGE_ERRORS = (
    SafetensorError,
    InputError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)


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
            return _read_state(header, arrays)
        except _DAMAGE_ERRORS as error:
            raise PersistenceError(f"a snapshot of what was learned is damaged: {error}") from error


def _read_state(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LearnerState:
    """Return the state that a header and arrays describe.

    Raises:
        One of `_DAMAGE_ERRORS`: a part is missing, or has another type or shape.
    """
    names = check_strings("beliefs", header["beliefs"])
    size = len(arrays["common_mean"])
    return LearnerState(
        Gaussian(
            _shaped(arrays, "common_mean", (size,)),
            _shaped(arrays, "common_covariance", (size, size)),
        ),
        check_integer("sequence", header["sequence"]),
        dict(zip(names, _read_beliefs("beliefs", arrays, len(names), size), strict=True)),
        check_integer("incumbent", header["incumbent"]),
        DriftDetector(processes=_read_processes(header, arrays)),
        _read_guard(header["guard"]),
        _read_suspects(header, arrays, size),
        set(check_strings("unlucky", header["unlucky"])),
        Counter({name: check_integer(name, n) for name, n in header["skipped"].items()}),
        check_integer("n_rollbacks", header["n_rollbacks"]),
    )


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


def _read_beliefs(prefix: str, arrays: dict[str, NDArray[Any]], n: int, size: int) -> list[Belief]:
    def column(name: str, *shape: int) -> NDArray[Any]:
        return _stacked(arrays, f"{prefix}_{name}", n, shape)

    means, covariances = column("means", size), column("covariances", size, size)
    prior_means = column("prior_means", size)
    prior_covariances = column("prior_covariances", size, size)
    loadings, position_sums = column("loadings", size, size), column("position_sums", size)
    counts = column("counts", 2)
    return [
        Belief(
            Gaussian(means[i], covariances[i]),
            Gaussian(prior_means[i], prior_covariances[i]),
            loadings[i],
            position_sums[i],
            int(counts[i, 0]),
            float(counts[i, 1]),
        )
        for i in range(n)
    ]


def _read_suspects(
    header: dict[str, Any], arrays: dict[str, NDArray[Any]], size: int
) -> dict[str, Suspect]:
    names = check_strings("suspects", [name for name, _ in header["suspects"]])
    answers = [check_integer("answers", n) for _, n in header["suspects"]]
    before = _read_beliefs("suspects", arrays, len(names), size)
    return dict(zip(names, map(Suspect, before, answers), strict=True))


def _read_processes(
    header: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> dict[tuple[str, str | None], DriftProcess]:
    n = len(header["processes"])
    evidence = _stacked(arrays, "evidence", n, NO_EVIDENCE.evidence.shape)
    bound_sums = _stacked(arrays, "bound_sums", n, NO_EVIDENCE.bound_sum.shape)
    processes = {}
    for i, (expert, kind, surprise_sum, count) in enumerate(header["processes"]):
        check_strings("processes", [name for name in (expert, kind) if name is not None])
        processes[expert, kind] = DriftProcess(
            evidence[i],
            bound_sums[i],
            check_number("surprise_sum", surprise_sum, -math.inf),
            check_integer("count", count),
        )
    return processes


def _read_guard(values: dict[str, Any]) -> Guard:
    guard = Guard(**values)
    for name in ("count", "n_compared"):
        check_integer(name, getattr(guard, name))
    for name in ("total", "total_square"):
        check_number(name, getattr(guard, name), -math.inf)
    return guard


def _stacked(
    arrays: dict[str, NDArray[Any]], name: str, n: int, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return `n` stacked arrays of a shape; without any, they were written without the shape."""
    return _shaped(arrays, name, (n, *shape) if n else (0,))


def _shaped(arrays: dict[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of finite numbers.

    Raises:
        KeyError, ValueError: it is missing, or another array.
    """
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.shape} {array.dtype}, expected {shape} finite numbers")
    return array
