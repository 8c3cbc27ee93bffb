"""Who has become good at what: losses by domain before and after, and who gets which domain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.cotraining.learner import Floats, Learner, Rows


@dataclass(frozen=True)
class Specialisation:
    """What co-training made of the experts, on prompts that nobody learned from.

    `before` and `after` are mean losses `(n_domains, n_experts)`, `shares` `(n_domains, n_experts)`
    says which part of a domain's prompts goes to whom; each row sums to one. `loss` is that of the
    system as it routes, `best_single` of its best expert alone, `oracle` of the best choice for
    every prompt, all in nats per character.
    """

    domains: tuple[str, ...]
    experts: tuple[str, ...]
    before: Floats
    after: Floats
    shares: Floats
    loss: float
    best_single: float
    oracle: float
    information: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-safe."""
        given = asdict(self)
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in given.items()}

    def table(self) -> str:
        """Lay the figures out: losses before and after, and shares, a line per domain."""
        width = max(map(len, self.domains), default=0)
        head = "".join(f"{name[-8:]:>9}" for name in self.experts)
        lines = []
        parts = {"before": self.before, "after": self.after, "share": self.shares}
        for title, matrix in parts.items():
            lines.append(f"{title:<{width}}{head}")
            for domain, row in zip(self.domains, matrix, strict=True):
                lines.append(f"{domain:<{width}}" + "".join(f"{value:>9.3f}" for value in row))
        lines.append(
            f"loss as routed {self.loss:.4f}, best single expert {self.best_single:.4f}, "
            f"oracle {self.oracle:.4f}; information {self.information:.2f}"
        )
        return "\n".join(lines)


def measured(learners: Sequence[Learner], texts: Sequence[str]) -> Floats:
    """Measure every expert on every text, `(n_texts, n_experts)` nats per character."""
    return np.stack([np.asarray(learner.losses(texts), float) for learner in learners], axis=1)


def specialisation(
    experts: Sequence[str],
    domains: Sequence[str],
    before: Floats,
    after: Floats,
    chosen: Rows,
) -> Specialisation:
    """Sum up losses `(n_prompts, n_experts)` before and after, and who was chosen, `(n_prompts,)`.

    Prompts that some expert was not measured on are left out.

    Raises:
        InputError: the shapes do not fit, or no prompt is left.
    """
    shape = (len(domains), len(experts))
    if not before.shape == after.shape == shape or np.shape(chosen) != shape[:1]:
        raise InputError(
            f"losses {before.shape} and {after.shape}, {np.shape(chosen)} choices; expected "
            f"{shape} and {shape[:1]}"
        )
    whole = ~np.isnan(before + after).any(axis=1)
    if not whole.any():
        raise InputError("No prompt was measured with every expert.")
    before, after, chosen = before[whole], after[whole], np.asarray(chosen)[whole]
    names, at = np.unique(np.array(domains)[whole], return_inverse=True)
    picks = np.eye(shape[1])[chosen]
    return Specialisation(
        tuple(names.tolist()),
        tuple(experts),
        _by(at, before),
        _by(at, after),
        _by(at, picks),
        loss=float(after[np.arange(len(after)), chosen].mean()),
        best_single=float(after.mean(axis=0).min()),
        oracle=float(after.min(axis=1).mean()),
        information=_information(at, picks),
    )


def _by(domain: Rows, values: Floats) -> Floats:
    """Average values `(n_prompts, n)` within each domain, `(n_domains, n)`."""
    return np.array([values[domain == d].mean(axis=0) for d in range(int(domain.max()) + 1)])


def _information(domain: Rows, picks: Floats) -> float:
    """Say how much the expert tells of the domain: 0 nothing, 1 all (mutual information)."""
    joint = np.array([picks[domain == d].sum(axis=0) for d in range(int(domain.max()) + 1)])
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    known = joint > 0
    mutual = float((joint[known] * np.log(joint[known] / apart[known])).sum())
    rows = joint.sum(axis=1)
    entropy = -float((rows * np.log(rows)).sum())
    return mutual / entropy if entropy > 0 else 0.0
