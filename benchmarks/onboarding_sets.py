"""Recorded outcomes as onboarding tests: a router that has not seen the families of the new models.

The models of a set are divided by family into known and new ones, its prompts at random into three
parts: on the first the router learns from the known models, the second is the pool of questions,
and the third judges. The router of a full retraining learns from all models on the first two parts.
A set of few prompts has the first part as its pool.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from datasets import load
from families import facts

from tryage.core.library import Library
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.metadata import model_family
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tryage.perception.abilities import Gaussian
    from tryage.perception.model import LearnedPerception
    from tryage.scoring.qtable import QTable

NAMES = (
    *("metabench", "textclass", "pm_llm_v22", "lechmazur_generalization", "bfcl_2024_08"),
    *("zeroeval", "mmlu_pro"),
)
MAX_PROMPTS = 3_600
MAX_NEW = 24  # models; more would only take longer
NEW_SHARE = 0.3
MIN_DIVIDED = 200  # prompts; a set with fewer has the first part as its pool
MIN_ANSWERS = 0.5  # share of the prompts that a new model answered


@dataclass(frozen=True, slots=True)
class Replay:
    """A router that knows some models of a set, and what the new ones answered.

    `priors` are the beliefs about the `new` models by their facts. `pool_losses` `(n_pool, n_new)`
    and `test_losses` `(n_test, n_new)` hold NaN where nothing was recorded. `retrained` are the
    losses of the new models that the router of a full retraining predicts, `(n_test, n_new)`.
    """

    name: str
    perception: LearnedPerception
    new: tuple[str, ...]
    priors: tuple[Gaussian, ...]
    pool: tuple[str, ...]
    pool_losses: NDArray[np.float64]
    test: tuple[str, ...]
    test_losses: NDArray[np.float64]
    test_known: NDArray[np.float64]
    retrained: NDArray[np.float64]


def read_replay(name: str, seed: int, folder: Path) -> Replay:
    """Return the replay of a set, trained once and then read from `folder`."""
    path = folder / f"{name}-{seed}.pickle"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(train_replay(name, seed)))
    replay: Replay = pickle.loads(path.read_bytes())  # noqa: S301 - written by this script
    return replay


def train_replay(name: str, seed: int) -> Replay:
    """Train the router without the new models' families, and the one of a full retraining."""
    rng = np.random.default_rng(seed)
    table = load(name)
    table = table.take(np.sort(rng.permutation(len(table))[:MAX_PROMPTS]))
    table = table.take(np.flatnonzero(table.measured.sum(axis=1) >= 2))
    library = facts(table) if name == "metabench" else Library(table.experts)
    is_new = draw_families(library, table.measured.mean(axis=0), rng)
    part = draw_parts(len(table), rng)
    train, pool, test = (table.take(rows) for rows in part)
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    known = np.flatnonzero(~draw_excluded(library, is_new))
    perception = fit_part(train, known, library, encoder)
    new = [table.experts[i] for i in is_new]
    predictor = perception.for_library(library.subset(new))
    everything = table.take(np.sort(np.unique(np.concatenate(part[:2]))))
    retrained = fit_part(everything, np.sort(np.concatenate([known, is_new])), library, encoder)
    columns = np.array([retrained.experts.index(one) for one in new])
    return Replay(
        name,
        perception,
        tuple(new),
        tuple(predictor.prior_ability(one) for one in new),
        pool.prompts,
        pool.losses[:, is_new].astype(np.float64),
        test.prompts,
        test.losses[:, is_new].astype(np.float64),
        test.select(list(perception.experts)).losses.astype(np.float64),
        retrained.predict(test.prompts).losses[:, columns].astype(np.float64),
    )


def fit_part(
    table: QTable, experts: NDArray[np.intp], library: Library, encoder: object
) -> LearnedPerception:
    """Train on some experts, those without an answer left out."""
    chosen = table.select([table.experts[i] for i in experts])
    chosen = chosen.select([chosen.experts[i] for i in np.flatnonzero(chosen.measured.any(axis=0))])
    chosen = chosen.take(np.flatnonzero(chosen.measured.any(axis=1)))
    return fit(
        chosen,
        encoder,
        config=FitConfig(tfidf_dim=96),
        library=library.subset(list(chosen.experts)),
        progress=False,
    )


def draw_families(
    library: Library, coverage: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return the positions of the new models: whole families, until a share of all is reached."""
    series = np.array([model_family(e.name, e.metadata)[0] or e.name for e in library])
    new: list[int] = []
    for family in rng.permutation(np.unique(series)):
        members = np.flatnonzero((series == family) & (coverage >= MIN_ANSWERS))
        if len(members) <= 0.5 * len(library) and len(new) < NEW_SHARE * len(library):
            new += members.tolist()
    return np.sort(rng.permutation(new)[:MAX_NEW]).astype(np.intp)


def draw_excluded(library: Library, is_new: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which models belong to a family of the new ones."""
    series = np.array([model_family(e.name, e.metadata)[0] or e.name for e in library])
    return np.isin(series, series[is_new])


def draw_parts(n: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], ...]:
    """Divide prompts into training, pool and test."""
    order = rng.permutation(n)
    if n < MIN_DIVIDED:
        train = np.sort(order[: int(0.6 * n)])
        return train, train, np.sort(order[int(0.6 * n) :])
    bounds = [0, int(0.4 * n), int(0.7 * n), n]
    return tuple(np.sort(order[a:b]) for a, b in pairwise(bounds))
