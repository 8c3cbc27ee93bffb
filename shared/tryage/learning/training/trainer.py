"""Learns a perception from a Q-table: features, ability space, estimators and abilities."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tryage.checkpoint import StageCheckpoint, fingerprint, open_stage_checkpoint
from tryage.core.validation import check_bools, check_integer
from tryage.errors import QTableError
from tryage.learning.training.calibration import calibrate
from tryage.learning.training.estimators import (
    fit_block_scaler,
    fit_feature_extractor,
    fit_forecasts,
    fit_head,
    fit_tfidf_svd,
    form_ids,
)
from tryage.learning.training.factor_model import (
    RANK,
    FactorModel,
    compress_losses,
    expected_abilities,
    fit_abilities,
    fit_factor_model,
)
from tryage.learning.training.metadata_prior import with_metadata_prior
from tryage.learning.training.transfer import (
    cluster_labels,
    expected_level,
    pretrained_perception,
    shrink_means,
    transfer_feature_extractor,
)
from tryage.learning.training.uncertainty import with_uncertainty
from tryage.perception.head import UNNAMED_CATEGORY
from tryage.perception.model import LearnedPerception
from tryage.perception.question import find_questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.perception.encoder import Encoder
    from tryage.perception.features import FeatureExtractor
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

MIN_PROMPTS = 10


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train a perception.

    `rank` bounds the ability space and `tfidf_dim` the TF-IDF features; `folds` is the number of
    inner folds in which estimators predict prompts that they have not seen. Without `form`, the
    length of a prompt, its capital letters, its punctuation and its script do not count. In a table
    without categories, `n_clusters` clusters of similar prompts take their place.

    Raises:
        InputError: a number is out of range.
    """

    rank: int = RANK
    tfidf_dim: int = 128
    folds: int = 3
    seed: int = 0
    form: bool = True
    n_clusters: int = 8

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        lowest = {"rank": 1, "tfidf_dim": 1, "folds": 2, "seed": 0, "n_clusters": 1}
        for name, low in lowest.items():
            check_integer(name, getattr(self, name), low)
        check_bools(form=self.form)


def fit(  # noqa: PLR0913 - two inputs, the rest has defaults
    table: QTable,
    encoder: Encoder,
    *,
    config: FitConfig | None = None,
    pretrained: Router | None = None,
    embeddings: Float32Array | None = None,
    expected_losses: Callable[[QTable], FloatArray] | None = None,
    prompt_weights: FloatArray | None = None,
    library: Library | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> LearnedPerception:
    """Train a perception on measured losses.

    Args:
        table: Losses `(n_prompts, n_experts)` with gaps; its categories, if any, are learned too.
        encoder: Embeds the prompts; it is not trained (`finetune.py` trains one end to end).
        config: Sizes, folds and seed.
        pretrained: A router to start from, with the same encoder, such as the bundled one. Its
            words, categories and ability space are features of the new perception, and what it
            expects of the experts is the prior of their mean losses.
        embeddings: The embeddings of the prompts, `(n_prompts, dim)`, if they are known already;
            of those that bring retrieved text along, of their questions.
        expected_losses: A model of losses in [0, 1] that returns the expected ones of a table,
            `(n_prompts, n_experts)`, without gaps; needed where sources share few experts, such as
            `item_response.expected_losses`.
        prompt_weights: How much each prompt counts, `(n_prompts,)`, by default alike.
        library: Metadata of the experts, from which a prior for unmeasured experts is learned.
            Without it, each unmeasured expert is expected to be like the average expert.
        checkpoint: A folder for finished stages; the same call resumes from there.
        progress: Whether to show a progress bar.

    Raises:
        QTableError: fewer than ten different prompts, a prompt or expert without a loss, or experts
            whose names differ in case alone.
        PerceptionError: the pretrained router has another encoder, or itself started from another.
        MissingExtraError: scikit-learn is not installed.
    """
    config = config or FitConfig()
    check_table(table)
    table = replace(table, prompts=find_questions(table.prompts))
    source = None if pretrained is None else pretrained_perception(pretrained, encoder)
    expected = None if expected_losses is None else expected_losses(table)
    compressed = compress_losses(table.losses)
    losses = compressed.losses if compressed else table.losses
    optional = (expected, prompt_weights, None if source is None else source.head.weights)
    key = _checkpoint_key(table, encoder, embeddings, losses, optional, config)
    with open_stage_checkpoint(checkpoint, key, config.folds + 2, progress=progress) as stages:
        x, extractor = _fit_features(table, encoder, source, embeddings, config, stages)
        factor_model = fit_factor_model(
            losses, min(config.rank, len(table.experts)), expected, prompt_weights
        )
        positions = np.concatenate([np.ones((len(table), 1)), factor_model.scores], axis=1)
        initial_means = np.concatenate([factor_model.mean[:, None], factor_model.loadings], axis=1)
        learn_abilities = fit_abilities if expected is None else expected_abilities
        abilities, mean = learn_abilities(positions, losses, initial_means), factor_model.mean
        if pretrained is not None and expected is None:
            level = expected_level(pretrained, table.prompts, table.experts)
            mean = shrink_means(losses, factor_model.mean, level)
            abilities = abilities.shifted(mean - factor_model.mean)
        labels = _labels(table, x, config)
        blocks = (*extractor.blocks, *extractor.known_columns)
        known = extractor.pretrained  # prompts are compared by what the pretrained router reads
        columns = blocks, None if known is None else known.input_width
        out_of_fold, similarities = _out_of_fold_positions(
            x, columns, labels, factor_model, table.groups, prompt_weights, config, stages
        )
        calibration = calibrate(out_of_fold, abilities, table, mean, compressed)
        names = tuple(sorted(set(labels)))
        head = fit_head(
            x, labels, names, factor_model.scores, config.seed, prompt_weights, *columns
        )
        stages.progress_bar.update()
    perception = LearnedPerception(
        table.experts,
        encoder,
        extractor,
        replace(head, weights=calibration.weights, gain=calibration.gain),
        abilities.with_noise(positions, table.measured, calibration.noise),
        calibration.soft_threshold,
        calibration.link,
        forecasts=fit_forecasts(table, head.category_classifier.one_hot(labels)),
        report=calibration.report,
    )
    positions = out_of_fold * perception.head.gain
    n_measured = float(np.median(table.measured.sum(axis=0)))
    perception = with_uncertainty(
        perception, positions, similarities, table.losses, labels, n_measured
    )
    return perception if library is None else with_metadata_prior(perception, library)


def check_table(table: QTable) -> None:
    """Refuse a table that no router can learn from.

    Raises:
        QTableError: fewer than ten different prompts, a prompt or expert without a loss, or experts
            whose names differ in case alone.
    """
    table.check_expert_names()
    n_empty = int((~table.measured.any(axis=1)).sum())
    unmeasured_experts = [table.experts[i] for i in np.flatnonzero(~table.measured.any(axis=0))]
    n_prompts = len(set(table.prompts))
    if n_prompts < MIN_PROMPTS or n_empty or unmeasured_experts:
        raise QTableError(
            f"{n_prompts} different prompts, {n_empty} rows without a loss, and no loss of the "
            f"experts {unmeasured_experts[:5]}; training needs at least {MIN_PROMPTS} prompts, and "
            "a loss for every prompt and expert: cut the table with take() and select()"
        )


def _checkpoint_key(  # noqa: PLR0913 - everything that the stages depend on
    table: QTable,
    encoder: Encoder,
    embeddings: Float32Array | None,
    losses: FloatArray,
    optional: Sequence[FloatArray | None],
    config: FitConfig,
) -> str:
    """Return a hash of the inputs: stages of other inputs are not read from the checkpoint."""
    # a few embeddings distinguish one encoder from another
    sample = encoder.encode(table.prompts[:8]) if embeddings is None else embeddings
    read = (encoder.vocabulary, encoder.block_sizes)
    content = (table.prompts, table.categories, sample, read, table.experts)
    return fingerprint(*content, losses, *optional, asdict(config))


def _labels(table: QTable, x: Float32Array, config: FitConfig) -> tuple[str, ...]:
    """Return the category of each prompt, or the cluster of its features if it has none at all."""
    if any(table.categories or ()):
        return tuple(name or UNNAMED_CATEGORY for name in table.categories or ())
    return cluster_labels(x, config.n_clusters, config.seed)


def _fit_features(  # noqa: PLR0913 - what features are made of
    table: QTable,
    encoder: Encoder,
    pretrained: LearnedPerception | None,
    embeddings: Float32Array | None,
    config: FitConfig,
    stages: StageCheckpoint,
) -> tuple[Float32Array, FeatureExtractor]:
    """Return the features of the training prompts, `(n_prompts, d)`, and their extractor."""
    if embeddings is None:
        arrays = stages.load_or_compute("encoding", lambda: {"x": encoder.encode(table.prompts)})
        embeddings = arrays["x"]
    ids = encoder.token_ids(table.prompts)
    ignored_ids = None if config.form else form_ids(encoder)
    if pretrained is None:
        extractor = fit_feature_extractor(
            table.prompts,
            ids,
            encoder.vocabulary,
            tfidf_dim=config.tfidf_dim,
            seed=config.seed,
            form_ids=ignored_ids,
            block_scaler=fit_block_scaler(embeddings, encoder.block_sizes, config.seed),
        )
    else:
        tfidf = fit_tfidf_svd(ids, encoder.vocabulary, config.tfidf_dim, config.seed, ignored_ids)
        extractor = transfer_feature_extractor(
            pretrained, table.prompts, embeddings, ids, tfidf, form=config.form
        )
    return extractor.extract(table.prompts, embeddings, ids), extractor


def _out_of_fold_positions(  # noqa: PLR0913 - everything that a fold consists of
    x: Float32Array,
    columns: tuple[Sequence[slice], int | None],
    labels: Sequence[str],
    factor_model: FactorModel,
    groups: IndexArray,
    prompt_weights: FloatArray | None,
    config: FitConfig,
    stages: StageCheckpoint,
) -> tuple[Float32Array, Float32Array]:
    """Return positions by estimators that have not seen the prompt, `(n_estimators, n, rank)`.

    `columns` are the blocks of features with regressions of their own, and how many features tell
    which prompts are similar, None for all. Also returns the highest cosine of each prompt to one
    that they have seen, `(n,)`. Prompts of the same text are in the same fold.
    """
    order = np.random.default_rng(config.seed).permutation(int(groups.max()) + 1)
    fold_of_row = order[groups] % config.folds
    names = tuple(sorted(set(labels)))

    def fold_positions(is_held_out: BoolArray) -> dict[str, Float32Array]:
        train_labels = [
            label for label, is_out in zip(labels, is_held_out.tolist(), strict=True) if not is_out
        ]
        kept = ~is_held_out
        weights = None if prompt_weights is None else prompt_weights[kept]
        scores = factor_model.scores[kept]
        head = fit_head(x[kept], train_labels, names, scores, config.seed, weights, *columns)
        inputs = head.prepare(x[is_held_out])
        positions = head.estimator_positions(inputs)
        return {"positions": positions, "similarities": inputs.highest_similarities}

    parts: list[tuple[BoolArray, Float32Array, Float32Array]] = []
    for fold in range(config.folds):
        is_held_out = fold_of_row == fold
        arrays = stages.load_or_compute(
            f"out-of-fold-{fold + 1}", partial(fold_positions, is_held_out)
        )
        parts.append((is_held_out, arrays["positions"], arrays["similarities"]))
    out_of_fold = np.zeros((len(parts[0][1]), len(x), factor_model.scores.shape[1]), np.float32)
    highest_similarities = np.zeros(len(x), np.float32)
    for is_held_out, positions, similarities in parts:
        out_of_fold[:, is_held_out] = positions
        highest_similarities[is_held_out] = similarities
    return out_of_fold, highest_similarities
