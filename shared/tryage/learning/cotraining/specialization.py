"""Which expert has become good at which domain: losses before and after, choices, a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.learning.charts.matplotlib_figure import new_figure
from tryage.learning.charts.pictures import save_figure
from tryage.learning.charts.style import TEXT_COLOR

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
    """What the experts learned, measured on prompts that no expert was trained on.

    `before` and `after` are mean losses `(n_domains, n_experts)` before and after training.
    `shares` `(n_domains, n_experts)` are the shares of a domain's prompts per expert; each row sums
    to one. `loss` is the mean loss of the routed experts, `best_single` that of the best expert
    alone, `oracle` that of the best choice for every prompt, all in nats per character.
    `information` is how much the chosen expert reveals about the domain, from 0 to 1.
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
        """Return all fields as plain values for JSON."""
        fields = asdict(self)
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}

    def table(self) -> str:
        """Return losses before and after, and shares, as text with a line per domain."""
        width = max(map(len, self.domains), default=0)
        header = "".join(f"{name[-8:]:>9}" for name in self.experts)
        lines = []
        matrices = {"before": self.before, "after": self.after, "share": self.shares}
        for title, matrix in matrices.items():
            lines.append(f"{title:<{width}}{header}")
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
    chosen_experts: IndexArray,
) -> Specialization:
    """Summarize losses `(n_prompts, n_experts)` and `chosen_experts` `(n_prompts,)` by domain.

    `domains` has one name per prompt. Prompts on which an expert was not measured are left out.

    Raises:
        InputError: the shapes do not fit, or no prompt is left.
    """
    expected_shape = (len(domains), len(experts))
    if (
        not before.shape == after.shape == expected_shape
        or np.shape(chosen_experts) != expected_shape[:1]
    ):
        raise InputError(
            f"losses {before.shape} and {after.shape}, {np.shape(chosen_experts)} choices; "
            f"expected {expected_shape} and {expected_shape[:1]}"
        )
    is_measured = ~np.isnan(before + after).any(axis=1)
    if not is_measured.any():
        raise InputError("No prompt was measured with every expert.")
    before, after, chosen_experts = (
        before[is_measured],
        after[is_measured],
        np.asarray(chosen_experts)[is_measured],
    )
    names, domain_index = np.unique(np.array(domains)[is_measured], return_inverse=True)
    choices = np.eye(expected_shape[1])[chosen_experts]
    return Specialization(
        tuple(names.tolist()),
        tuple(experts),
        _group_means(domain_index, before),
        _group_means(domain_index, after),
        _group_means(domain_index, choices),
        loss=float(after[np.arange(len(after)), chosen_experts].mean()),
        best_single=float(after.mean(axis=0).min()),
        oracle=float(after.min(axis=1).mean()),
        information=_uncertainty_coefficient(domain_index, choices),
    )


def _group_means(domain_index: IndexArray, values: FloatArray) -> FloatArray:
    """Average values `(n_prompts, n)` within each domain, `(n_domains, n)`."""
    return np.array(
        [values[domain_index == d].mean(axis=0) for d in range(int(domain_index.max()) + 1)]
    )


def _uncertainty_coefficient(domain_index: IndexArray, choices: FloatArray) -> float:
    """Return how much the chosen expert reveals about the domain: 0 nothing, 1 everything.

    That is their mutual information, divided by the entropy of the domain (Theil's U).
    """
    joint_probabilities = np.array(
        [choices[domain_index == d].sum(axis=0) for d in range(int(domain_index.max()) + 1)]
    )
    joint_probabilities /= joint_probabilities.sum()
    domain_probabilities = joint_probabilities.sum(axis=1)
    product_of_marginals = np.outer(domain_probabilities, joint_probabilities.sum(axis=0))
    is_positive = joint_probabilities > 0
    cell_probabilities = joint_probabilities[is_positive]
    log_ratios = np.log(cell_probabilities / product_of_marginals[is_positive])
    mutual_information = float((cell_probabilities * log_ratios).sum())
    entropy = -float((domain_probabilities * np.log(domain_probabilities)).sum())
    return mutual_information / entropy if entropy > 0 else 0.0


def plot_specialization(specialization: Specialization, path: Path | None = None) -> Figure:
    """Draw each expert's loss by domain before and after, and its share of each domain.

    The mean of a domain is subtracted from its losses: otherwise a domain that is hard for all
    experts would hide which of them is good at it. Experts are ordered by the domain in which they
    get the largest share.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    n_domains, n_experts = specialization.after.shape
    figure = new_figure(3.2 + 3 * (0.6 + 0.42 * n_experts), 1.9 + 0.36 * n_domains)
    before_axes, after_axes, share_axes = figure.subplots(1, 3, sharey=True)
    order = _expert_order(specialization.shares)
    losses = [
        _subtract_domain_mean(losses_by_domain)
        for losses_by_domain in (specialization.before, specialization.after)
    ]
    color_limit = max(float(np.abs(losses[1]).max()), 1e-6)
    _draw_heatmap(before_axes, losses[0][:, order], "RdBu_r", (-color_limit, color_limit))
    loss_image = _draw_heatmap(
        after_axes, losses[1][:, order], "RdBu_r", (-color_limit, color_limit)
    )
    share_image = _draw_heatmap(share_axes, specialization.shares[:, order], "Blues", (0.0, 1.0))
    before_axes.set_title("loss before", loc="left", fontsize=11, color=TEXT_COLOR)
    after_axes.set_title("loss after", loc="left", fontsize=11, color=TEXT_COLOR)
    share_axes.set_title("share of the domain's prompts", loc="left", fontsize=11, color=TEXT_COLOR)
    before_axes.set_yticks(range(n_domains), specialization.domains, fontsize=9)
    for axes in (before_axes, after_axes, share_axes):
        axes.set_xticks(range(n_experts), [str(i + 1) for i in order], fontsize=9)
        axes.set_xlabel("expert", color=TEXT_COLOR)
    colorbar = figure.colorbar(loss_image, ax=[before_axes, after_axes], shrink=0.9, pad=0.01)
    colorbar.set_label("nats per character,\nless the domain's mean", color=TEXT_COLOR, fontsize=9)
    figure.colorbar(
        share_image, ax=share_axes, shrink=0.9, pad=0.02, format=lambda x, _: f"{x:.0%}"
    )
    if path is not None:
        save_figure(figure, path)
    return figure


def _subtract_domain_mean(losses: FloatArray) -> FloatArray:
    """Subtract the mean of each domain from losses `(n_domains, n_experts)`."""
    return np.asarray(losses - losses.mean(axis=1, keepdims=True))


def _expert_order(shares: FloatArray) -> IndexArray:
    """Order the experts by the domain in which their share is largest, then by that share."""
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
