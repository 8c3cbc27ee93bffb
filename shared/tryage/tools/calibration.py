"""Calibrates a ToolRanker: the weights of clauses and words, and what its scores mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.tools.bm25 import N_LEXICAL_FEATURES
from tryage.tools.episodes import group_by_toolset
from tryage.tools.matching import (
    INT8_SCALE,
    N_NEEDED_FEATURES,
    Feedback,
    QueryScores,
    Toolbox,
    ToolMatcher,
    build_toolbox,
    score_query,
    usefulness_features,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray
    from tryage.perception.encoder import Encoder
    from tryage.tools.episodes import Episode

_MAX_CALIBRATION_EPISODES = 4_000  # more do not change what is learned from them

_CLAUSE_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5)

_RECALLS_AT = (1, 3, 5)  # the clause weight is the one with the highest mean of these recalls

_N_HARD_NEGATIVES = 20  # the useless tools of an episode that score highest

_N_COMPARED = 60  # the useless tools, of each of two scores the highest, that weights are fitted on

_WEIGHT_PENALTY = 1e-3

_PADDING_BIAS = -1e9

# To refuse a query about one of the topics is worse than to try one about none of them.
_WEIGHT_OF_NEEDED = 1.25

_ALWAYS_NEEDED_INTERCEPT = 60.0


def calibrate_matcher(
    matcher: ToolMatcher, encoder: Encoder, held_out: Sequence[Episode]
) -> ToolMatcher:
    """Fit the clause weight and both logistic regressions on episodes that the maps have not seen.

    Each list of tools counts the same. Without an episode that has a useful tool the matcher is
    returned as it is.
    """
    order = np.random.default_rng(0).permutation(len(held_out))[:_MAX_CALIBRATION_EPISODES]
    sample = [held_out[i] for i in sorted(order.tolist())]
    scored_episodes = _score_episodes(matcher, encoder, sample)
    tool_episodes = [episode for episode in scored_episodes if episode.useful.any()]
    if not tool_episodes:
        return matcher
    weights = _group_weights(tool_episodes)
    candidates = [replace(matcher, clause_weight=weight) for weight in _CLAUSE_WEIGHTS]
    recalls = [
        weights @ [episode.mean_recall(candidate) for episode in tool_episodes]
        for candidate in candidates
    ]
    best = candidates[int(np.argmax(recalls))]
    return replace(
        best,
        usefulness_coef=_fit_usefulness(best, tool_episodes, weights),
        needed_coef=_fit_needed(scored_episodes),
    )


@dataclass(frozen=True, slots=True)
class _ScoredEpisode:
    """The scores of an episode, which of its tools are useful `(n_tools,)`, and its group."""

    scores: QueryScores
    useful: BoolArray
    group: int

    def combined_scores(self, matcher: ToolMatcher) -> Float32Array:
        """Return the scores of the query and its best clause, `(n_tools,)`."""
        return matcher.combine_clauses(self.scores.whole_query, self.scores.clauses)

    def mean_recall(self, matcher: ToolMatcher) -> float:
        """Return the mean share of the useful tools among the best `_RECALLS_AT`."""
        order = np.argsort(-self.combined_scores(matcher), kind="stable")
        is_useful = self.useful[order]
        return float(np.mean([is_useful[:k].sum() for k in _RECALLS_AT]) / is_useful.sum())


def _score_episodes(
    matcher: ToolMatcher, encoder: Encoder, episodes: Sequence[Episode]
) -> list[_ScoredEpisode]:
    toolboxes: dict[int, Toolbox] = {}
    scored_episodes = []
    for group_index, group in enumerate(group_by_toolset(episodes)):
        for episode in group.episodes:
            if id(episode.tools) not in toolboxes:
                toolboxes[id(episode.tools)] = build_toolbox(episode.tools, encoder, matcher)
            scores = score_query(
                episode.query, toolboxes[id(episode.tools)], encoder, matcher, Feedback()
            )
            useful = np.zeros(len(episode.tools), np.bool_)
            useful[episode.useful_rows()] = True
            scored_episodes.append(_ScoredEpisode(scores, useful, group_index))
    return scored_episodes


def _group_weights(scored_episodes: Sequence[_ScoredEpisode]) -> FloatArray:
    """Return a weight for each episode, so that each group counts the same."""
    sizes = Counter(episode.group for episode in scored_episodes)
    return np.array([1 / sizes[episode.group] for episode in scored_episodes])


def _fit_usefulness(
    matcher: ToolMatcher, scored_episodes: Sequence[_ScoredEpisode], weights: FloatArray
) -> Float32Array:
    """Fit the probability that a tool is of use."""
    rows, labels, row_weights = [], [], []
    for episode, weight in zip(scored_episodes, weights.tolist(), strict=True):
        scores = episode.combined_scores(matcher)
        order = np.argsort(-scores, kind="stable")
        hard_negatives = order[~episode.useful[order]][:_N_HARD_NEGATIVES]
        sampled_tools = np.concatenate([np.flatnonzero(episode.useful), hard_negatives])
        rows.append(usefulness_features(scores, episode.scores.clauses)[sampled_tools])
        labels.append(episode.useful[sampled_tools])
        row_weights += [weight] * len(sampled_tools)
    return _fit_logistic(np.concatenate(rows), np.concatenate(labels), np.array(row_weights))


def _fit_needed(scored_episodes: Sequence[_ScoredEpisode]) -> Float32Array:
    """Fit the probability that any tool is needed.

    Only groups count in which some queries need a tool and others do not: elsewhere the two would
    differ by their tools. Without such a group a tool is always needed.
    """
    needs_tool = np.array([bool(episode.useful.any()) for episode in scored_episodes])
    groups = np.array([episode.group for episode in scored_episodes])
    mixed_groups = np.intersect1d(groups[needs_tool], groups[~needs_tool])
    is_mixed = np.isin(groups, mixed_groups)
    if not is_mixed.any():
        return np.array([_ALWAYS_NEEDED_INTERCEPT, *np.zeros(N_NEEDED_FEATURES)], np.float32)
    features = np.stack([episode.scores.needed_features for episode in scored_episodes])
    return _fit_logistic(features[is_mixed], needs_tool[is_mixed])


def _fit_logistic(
    rows: Float32Array, labels: BoolArray, weights: FloatArray | None = None
) -> Float32Array:
    from sklearn.linear_model import LogisticRegression

    if weights is not None:
        weights = weights / weights.mean()
    model = LogisticRegression(C=100.0, max_iter=2_000).fit(rows, labels, sample_weight=weights)
    return np.array([model.intercept_[0], *model.coef_[0]], np.float32)


# Topics ------------------------------------------------------------------------------------


def calibrate_topics(
    matcher: ToolMatcher,
    encoder: Encoder,
    background: Sequence[str],
    episodes: Sequence[Episode],
) -> ToolMatcher:
    """Fit the probability that one of some topics is needed, for tools that take no arguments.

    Args:
        matcher: Is calibrated already.
        encoder: The one that the matcher was trained with.
        background: Queries about anything. What they score tells how near a topic is.
        episodes: Queries among tools without arguments; some need one of them, others none.
    """
    embeddings = np.rint(encoder.encode(background) * INT8_SCALE).astype(np.int8)
    topic_matcher = replace(matcher, background=embeddings)
    scored_episodes = _score_episodes(topic_matcher, encoder, episodes)
    is_needed = np.array([bool(episode.useful.any()) for episode in scored_episodes])
    scores = np.array([[episode.scores.topic_score] for episode in scored_episodes], np.float32)
    weights = np.where(is_needed, _WEIGHT_OF_NEEDED, 1.0)
    return replace(topic_matcher, topic_coef=_fit_logistic(scores, is_needed, weights))


# The weights of words, for tools that the maps do not know ---------------------------------


@dataclass(frozen=True, slots=True)
class RankingExample:
    """The tools of a query: cosines `(n_tools,)`, words `(n_tools, 3)`, which are useful."""

    cosines: Float32Array
    lexical: Float32Array
    useful: BoolArray

    def hardest(self) -> RankingExample:
        """Return the example with the useful tools, and the useless ones that score highest."""
        order = np.argsort(-self.cosines, kind="stable")
        by_words = np.argsort(-self.lexical[:, 0], kind="stable")
        hard = np.concatenate(
            [ranks[~self.useful[ranks]][:_N_COMPARED] for ranks in (order, by_words)]
        )
        kept = np.union1d(np.flatnonzero(self.useful), hard)
        return RankingExample(self.cosines[kept], self.lexical[kept], self.useful[kept])


def fit_lexical_weights(
    groups: Sequence[Sequence[RankingExample]], cosine_scale: float
) -> Float32Array:
    """Fit the weights of the shared words beside `cosine_scale` x cosine, each group alike.

    The loss is the cross-entropy of the useful tools under the softmax of the scores. The weights
    may not be negative.
    """
    import torch

    batches = [_pad([example.hardest() for example in group]) for group in groups]
    log_weights = torch.zeros(1 + N_LEXICAL_FEATURES, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        weights = log_weights.exp()
        loss = torch.stack([_cross_entropy(weights, *batch) for batch in batches]).mean()
        loss += _WEIGHT_PENALTY * weights.pow(2).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch has no types for it
    weights = np.array(log_weights.detach().exp().numpy(), np.float32)
    return np.asarray(weights[1:] * (cosine_scale / weights[0]), np.float32)


def _pad(examples: Sequence[RankingExample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return features `(n, n_tools, 4)`, targets and biases `(n, n_tools)`, padded to one size."""
    import torch

    size = max(len(example.useful) for example in examples)
    features = torch.zeros(len(examples), size, 1 + N_LEXICAL_FEATURES)
    targets = torch.zeros(len(examples), size)
    biases = torch.full((len(examples), size), _PADDING_BIAS)
    for row, example in enumerate(examples):
        n_tools = len(example.useful)
        features[row, :n_tools, 0] = torch.from_numpy(example.cosines)
        features[row, :n_tools, 1:] = torch.from_numpy(example.lexical)
        targets[row, :n_tools] = torch.from_numpy(example.useful / example.useful.sum())
        biases[row, :n_tools] = 0.0
    return features, targets, biases


def _cross_entropy(
    weights: torch.Tensor, features: torch.Tensor, targets: torch.Tensor, biases: torch.Tensor
) -> torch.Tensor:
    log_probabilities = (features @ weights + biases).log_softmax(dim=1)
    return -(targets * log_probabilities).sum(dim=1).mean()
