"""Who has become good at what: losses by domain before and after, and who gets which domain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.learning.evaluation.report import TEXT_COLOR, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.learning.cotraining.protocols import Learner

@dataclass(frozen=True)
class Specialization:
    """What co-training made of the experts, on prompts that nobody learned from.

    `before` and `after` are mean losses `(n_domains, n_experts)`, `shares` `(n_domains, n_experts)`
    says which part of a domain's prompts goes to whom; each row sums to one. `loss` is that of the
    system as it routes, `best_single` of its best expert alone, `oracle` of the best choice for
    every prompt, all in nats per character.
    """

    domains: tuple[str, ...]
    experts: tuple[str, ...]
    before: FloatArray
    after: FloatArray
    shares: FloatArray
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


def measure_losses(learners: Sequence[Learner], texts: Sequence[str]) -> FloatArray:
    """Measure every expert on every text, `(n_texts, n_experts)` nats per character."""
    return np.stack([np.asarray(learner.losses(texts), float) for learner in learners], axis=1)


def summarize_specialization(
    experts: Sequence[str],
    domains: Sequence[str],
    before: FloatArray,
    after: FloatArray,
    chosen: IndexArray,
) -> Specialization:
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
    return Specialization(
        tuple(names.tolist()),
        tuple(experts),
        _group_means(at, before),
        _group_means(at, after),
        _group_means(at, picks),
        loss=float(after[np.arange(len(after)), chosen].mean()),
        best_single=float(after.mean(axis=0).min()),
        oracle=float(after.min(axis=1).mean()),
        information=_uncertainty_coefficient(at, picks),
    )


def _group_means(domain: IndexArray, values: FloatArray) -> FloatArray:
    """Average values `(n_prompts, n)` within each domain, `(n_domains, n)`."""
    return np.array([values[domain == d].mean(axis=0) for d in range(int(domain.max()) + 1)])


def _uncertainty_coefficient(domain: IndexArray, picks: FloatArray) -> float:
    """Say how much the expert tells of the domain: 0 nothing, 1 all (mutual information)."""
    joint = np.array([picks[domain == d].sum(axis=0) for d in range(int(domain.max()) + 1)])
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    known = joint > 0
    mutual = float((joint[known] * np.log(joint[known] / independent[known])).sum())
    rows = joint.sum(axis=1)
    entropy = -float((rows * np.log(rows)).sum())
    return mutual / entropy if entropy > 0 else 0.0


def plot_specialization(specialization: Specialization, path: Path | None = None) -> Figure:
    """Draw each expert's loss by domain before and after, and who gets which domain.

    Losses are shown less the mean of their domain, since a domain that is hard for all would hide
    who is good at it. Experts stand in the order of the domain they get most of.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    n_domains, n_experts = specialization.after.shape
    figure = new_figure(3.2 + 3 * (0.6 + 0.42 * n_experts), 1.9 + 0.36 * n_domains)
    before, after, share = figure.subplots(1, 3, sharey=True)
    order = _expert_order(specialization.shares)
    limit = max(float(np.abs(_subtract_domain_mean(specialization.after)).max()), 1e-6)
    _draw_heatmap(
        before, _subtract_domain_mean(specialization.before)[:, order], "RdBu_r", (-limit, limit)
    )
    shown = _draw_heatmap(
        after, _subtract_domain_mean(specialization.after)[:, order], "RdBu_r", (-limit, limit)
    )
    given = _draw_heatmap(share, specialization.shares[:, order], "Blues", (0.0, 1.0))
    before.set_title("loss before", loc="left", fontsize=11, color=TEXT_COLOR)
    after.set_title("loss after", loc="left", fontsize=11, color=TEXT_COLOR)
    share.set_title("share of the domain's prompts", loc="left", fontsize=11, color=TEXT_COLOR)
    before.set_yticks(range(n_domains), specialization.domains, fontsize=9)
    for axes in (before, after, share):
        axes.set_xticks(range(n_experts), [str(i + 1) for i in order], fontsize=9)
        axes.set_xlabel("expert", color=TEXT_COLOR)
    bar = figure.colorbar(shown, ax=[before, after], shrink=0.9, pad=0.01)
    bar.set_label("nats per character,\nless the domain's mean", color=TEXT_COLOR, fontsize=9)
    figure.colorbar(given, ax=share, shrink=0.9, pad=0.02, format=lambda x, _: f"{x:.0%}")
    if path is not None:
        figure.savefig(path)
    return figure


def _subtract_domain_mean(losses: FloatArray) -> FloatArray:
    """Take the mean of each domain away."""
    return np.asarray(losses - losses.mean(axis=1, keepdims=True))


def _expert_order(shares: FloatArray) -> IndexArray:
    """Order the experts by the domain they get most of, then by how much."""
    return np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))


def _draw_heatmap(
    axes: Axes, values: FloatArray, cmap: str, limits: tuple[float, float]
) -> AxesImage:
    image = axes.imshow(values, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    return image
