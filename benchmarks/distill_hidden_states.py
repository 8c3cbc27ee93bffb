"""Measure how much of a language model's hidden states the words of a prompt can predict.

Run from the root of the repository, after `benchmarks/hidden_states.py MODEL --states FOLDER`:

    python benchmarks/distill_hidden_states.py MODEL --states FOLDER [--sets coderouter_id ...]

A regression from pieces, pairs of pieces and the static embedding to states is a static encoder, a
row of numbers for each piece and pair. It learns from prompts alone, without losses: those of other
sets, or those and the training part of the set. What it is worth is measured by regressions of the
losses on what it predicts, beside those on the static embedding and on the states themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from datasets import SETS, load
from hidden_states import (
    BUNDLED,
    LAYERS,
    POOLINGS,
    TEMPLATE,
    argument_parser,
    draw_prompts,
    stored_states,
)
from scipy import sparse

from tryage.learning.evaluation.splits import folds
from tryage.perception.head import l2_normalize
from tryage.perception.hidden_state import HiddenStateEncoder
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.scoring.qtable import QTable

N_COMPONENTS = 128  # of the states that are predicted

N_PAIRS = 1 << 17  # to which pairs of pieces are hashed

RIDGE = 0.3

LOSS_RIDGES = tuple(np.geomspace(0.03, 3_000, 12).tolist())

N_EXPERTS = 64  # the best ones of a set


@dataclass(frozen=True, slots=True)
class Corpus:
    """The prompts of all sets: the set of each, its static embedding and its states.

    `kernel` `(n, n)` are the inner products of pieces, pairs of pieces and static embeddings.
    """

    names: NDArray[np.str_]
    kernel: Float32Array
    embeddings: Float32Array
    states: Float32Array

    def predict_states(self, rows: IndexArray) -> Float32Array:
        """Learn from some prompts, predict the states of all, `(n, N_COMPONENTS)`."""
        from sklearn.kernel_ridge import KernelRidge

        mean = self.states[rows].mean(axis=0)
        ridge = KernelRidge(alpha=RIDGE, kernel="precomputed")
        ridge.fit(self.kernel[np.ix_(rows, rows)], self.states[rows] - mean)
        return np.asarray(ridge.predict(self.kernel[:, rows]) + mean, np.float32)


def read_corpus(tables: dict[str, QTable], states: Sequence[Float32Array]) -> Corpus:
    """Read all prompts, and reduce their standardized states to the main components."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    encoder = load_encoder(BUNDLED)
    prompts = [prompt for table in tables.values() for prompt in table.prompts]
    names = [name for name, table in tables.items() for _ in table.prompts]
    embeddings = encoder.encode(prompts)
    words = _tfidf(encoder.token_ids(prompts), encoder.vocabulary)
    kernel = (words @ words.T).toarray().astype(np.float32) + embeddings @ embeddings.T
    z_scores = np.clip(StandardScaler().fit_transform(np.concatenate(states)), -4, 4)
    n_components = min(N_COMPONENTS, *z_scores.shape)
    components = PCA(n_components, random_state=0).fit_transform(z_scores)
    components /= np.sqrt((components**2).sum(axis=1).mean())
    return Corpus(np.array(names), kernel, embeddings, components.astype(np.float32))


def _tfidf(ids: Sequence[NDArray[np.int64]], vocabulary: int) -> sparse.csr_array:
    """Return TF-IDF of pieces and of hashed pairs of them, unit rows."""
    from sklearn.feature_extraction.text import TfidfTransformer

    pairs = [vocabulary + (own[:-1] * 1_000_003 + own[1:]) % N_PAIRS for own in ids]
    columns = [np.concatenate(both) for both in zip(ids, pairs, strict=True)]
    indptr = np.cumsum([0, *(len(own) for own in columns)])
    indices = np.concatenate(columns)
    shape = (len(ids), vocabulary + N_PAIRS)
    counts = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=shape)
    counts.sum_duplicates()
    return sparse.csr_array(TfidfTransformer(sublinear_tf=True).fit_transform(counts))


def explained_variance(corpus: Corpus, predicted: Float32Array, rows: IndexArray) -> float:
    """Return which share of the variance of the states of some prompts is predicted."""
    states = corpus.states[rows]
    error = float(((predicted[rows] - states) ** 2).sum())
    return 1 - error / float(((states - states.mean(axis=0)) ** 2).sum())


def explained_differences(x: Float32Array, table: QTable, seeds: int) -> float:
    """Return the share of the variance of the differences between experts that `x` predicts.

    Five folds; one ridge for all of the best experts, by its leave-one-out error.
    """
    from sklearn.linear_model import RidgeCV

    losses = np.where(table.measured, table.losses, np.nanmean(table.losses, axis=0))
    losses = losses[:, np.argsort(losses.mean(axis=0))[:N_EXPERTS]]
    differences = losses - losses.mean(axis=1, keepdims=True)
    error, total = 0.0, 0.0
    for seed in range(seeds):
        for train, test in folds(table.groups, 5, seed):
            ridge = RidgeCV(LOSS_RIDGES).fit(x[train], differences[train])
            error += float(((ridge.predict(x[test]) - differences[test]) ** 2).sum())
            mean = differences[train].mean(axis=0)
            total += float(((mean - differences[test]) ** 2).sum())
    return 1 - error / total


def measure(name: str, table: QTable, corpus: Corpus, seeds: int) -> str:
    """Return one row: how far states are predicted, and what each embedding is worth."""
    rows, others = (np.flatnonzero(is_in) for is_in in (corpus.names == name, corpus.names != name))
    held_out = np.random.default_rng(0).permutation(rows)[: len(rows) // 2]
    both = np.setdiff1d(np.arange(len(corpus.names)), held_out)
    from_others, from_both = corpus.predict_states(others), corpus.predict_states(both)
    variances = (
        explained_variance(corpus, from_others, rows),
        explained_variance(corpus, from_both, held_out),
    )
    static, distilled = corpus.embeddings[rows], l2_normalize(from_others[rows])
    worth = [
        explained_differences(x, table, seeds)
        for x in (
            static,
            np.concatenate([static, distilled], axis=1) / np.float32(np.sqrt(2)),
            l2_normalize(corpus.states[rows]),
        )
    ]
    cells = [name, f"{len(rows):,}", *(f"{share:.3f}" for share in (*variances, *worth))]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure each set with what is learned from all the others."""
    parser = argument_parser(__doc__, 3)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), required=True)
    arguments = parser.parse_args()
    encoder = HiddenStateEncoder(
        arguments.model, LAYERS, POOLINGS, template=TEMPLATE, dtype="bfloat16"
    )
    tables = {name: draw_prompts(load(name), arguments.prompts) for name in arguments.sets}
    states = [
        stored_states(encoder, name, table.prompts, arguments.states)
        for name, table in tables.items()
    ]
    corpus = read_corpus(tables, states)
    head = ("set", "prompts", "states from other sets", "from half of the set, too")
    worth = ("losses from the static embedding", "with predicted states", "from the states")
    print("| " + " | ".join((*head, *worth)) + " |", "|" + "---|" * 7, sep="\n")
    for name, table in tables.items():
        print(measure(name, table, corpus, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
