"""Everything that is compared: Tryage, baselines, reimplementations and peers with a package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from hidden_states import LAYERS, POOLINGS, TEMPLATE, StoredEncoder, stored_states
from reimplementations import (
    CLUSTERS,
    avengers_pro,
    embedllm,
    irt_router,
    prefill_probe,
    tuned,
    uniroute,
)

from tryage.checkpoint import fingerprint
from tryage.learning.evaluation import baselines
from tryage.learning.evaluation.stacking import stack
from tryage.learning.evaluation.trained_router import make_routing_method
from tryage.perception.hidden_state import HiddenStateEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tryage.core.arrays import Float32Array
    from tryage.learning.evaluation.splits import Fold, FoldMethod, MethodPrediction
    from tryage.perception.encoder import Encoder

    LocalMethod = Callable[[Fold, int], MethodPrediction]  # of a split and its seed

PACKAGE, CHANGED, REIMPLEMENTED, BASELINE = "P", "P*", "R", "B"


@dataclass(frozen=True)
class PeerPackage:
    """A peer that runs in its own environment.

    `kind` is P where the package's own code learns and decides, P* where a part of it, usually the
    training, had to be written for it. `n_experts` is the number of models that it can choose
    between, None for any. `module` is what its users import. What does not learn from the sets is
    measured for time and size alone.
    """

    label: str
    kind: str
    environment: str
    module: str
    router: str | None = None
    n_experts: int | None = None
    learns: bool = True

    @property
    def options(self) -> list[str]:
        """What the adapter is told."""
        return [] if self.router is None else ["--router", self.router]


PEERS: dict[str, PeerPackage] = {
    "tryage_bundled": PeerPackage(
        "**Tryage**, bundled router", PACKAGE, "tryage", "tryage", learns=False
    ),
    "argrouter": PeerPackage("argrouter", CHANGED, "argrouter", "argrouter.router"),
    "paretobandit": PeerPackage("ParetoBandit", PACKAGE, "paretobandit", "pareto_bandit"),
    "semantic_router": PeerPackage(
        "semantic-router", PACKAGE, "semantic_router", "semantic_router"
    ),
    "langchain_model_router": PeerPackage(
        "langchain-model-router, 100 examples",
        PACKAGE,
        "langchain_model_router",
        "langchain_model_router",
    ),
    "llamaindex": PeerPackage(
        "LlamaIndex selector", PACKAGE, "llamaindex", "llama_index.core.selectors"
    ),
    "litellm_complexity": PeerPackage(
        "LiteLLM complexity tiers", CHANGED, "litellm", "litellm", "complexity"
    ),
    "litellm_adaptive": PeerPackage(
        "LiteLLM adaptive's types", CHANGED, "litellm", "litellm", "adaptive"
    ),
    "llmrouter_knn": PeerPackage(
        "LLMRouter KNN, k=5", PACKAGE, "llmrouter", "llmrouter.models", "knn"
    ),
    "llmrouter_svm": PeerPackage("LLMRouter SVM", PACKAGE, "llmrouter", "llmrouter.models", "svm"),
    "llmrouter_mlp": PeerPackage("LLMRouter MLP", PACKAGE, "llmrouter", "llmrouter.models", "mlp"),
    "llmrouter_mf": PeerPackage("LLMRouter MF", PACKAGE, "llmrouter", "llmrouter.models", "mf"),
    "llmrouter_graph": PeerPackage(
        "LLMRouter Graph", PACKAGE, "llmrouter", "llmrouter.models", "graph"
    ),
    "routellm_mf": PeerPackage(
        "RouteLLM MF, retrained", PACKAGE, "routellm", "routellm.controller", "mf", n_experts=2
    ),
    "routellm_sw": PeerPackage(
        "RouteLLM SW ranking", CHANGED, "routellm", "routellm.controller", "sw", n_experts=2
    ),
}

TRYAGE, NO_CATEGORIES, ON_MINILM = "tryage", "tryage_no_categories", "tryage_minilm"

PROBE = "prefill_probe"  # of a language model, which has to be given

LABELS: dict[str, tuple[str, str]] = {
    TRYAGE: ("**Tryage**", ""),
    ON_MINILM: ("Tryage on MiniLM", ""),
    NO_CATEGORIES: ("Tryage, no categories", ""),
    "stack": ("stack", BASELINE),
    "knn": ("kNN, tuned", BASELINE),
    "tfidf_ridge": ("TF-IDF ridge", BASELINE),
    "category_table": ("category table", BASELINE),
    "best_single": ("best single", BASELINE),
    "random": ("random", BASELINE),
    "oracle": ("oracle", BASELINE),
    "guarded_knn": ("kNN with a paired guard", REIMPLEMENTED),
    "avengers_pro": ("Avengers-Pro", REIMPLEMENTED),
    "embedllm": ("EmbedLLM MF", REIMPLEMENTED),
    "uniroute": ("UniRoute", REIMPLEMENTED),
    "irt_router": ("IRT-Router", REIMPLEMENTED),
    PROBE: ("prefill probe", REIMPLEMENTED),
    **{name: (peer.label, peer.kind) for name, peer in PEERS.items()},
}

NO_FORECAST = ("random", "best_single", "oracle", "guarded_knn")  # their predictions only rank


def local_methods(encoder: Encoder, minilm: Encoder) -> Mapping[str, LocalMethod]:
    """Return the methods that run in this process, by name.

    Tryage reads with its own encoder, all others with the embeddings of the fold, which are the
    common ones. `minilm` makes these for Tryage, too.
    """

    def tryage(fold: Fold, seed: int) -> MethodPrediction:
        embeddings = encoder.encode(fold.train.prompts)
        method = make_routing_method(encoder, seed)
        return method(fold.train, embeddings, fold.test.prompts, fold.test_embeddings)

    def no_categories(fold: Fold, seed: int) -> MethodPrediction:
        return tryage(replace(fold, train=replace(fold.train, categories=None)), seed)

    def on_minilm(fold: Fold, seed: int) -> MethodPrediction:
        known = [*fold.train.prompts, *fold.test.prompts]
        rows = np.concatenate([fold.train_embeddings, fold.test_embeddings])
        method = make_routing_method(StoredEncoder(minilm, known, rows), seed)
        return method(fold.train, fold.train_embeddings, fold.test.prompts, fold.test_embeddings)

    return {
        TRYAGE: tryage,
        NO_CATEGORIES: no_categories,
        ON_MINILM: on_minilm,
        "stack": _seedless(stack),
        "knn": _seedless(baselines.nearest_neighbors),
        "tfidf_ridge": _seedless(baselines.tfidf_ridge),
        "category_table": _seedless(baselines.category_table),
        "best_single": _seedless(baselines.best_single),
        "random": _seedless(baselines.random),
        "oracle": _seedless(baselines.oracle),
        "guarded_knn": _seedless(baselines.guarded_neighbors),
        "avengers_pro": _seedless(tuned(avengers_pro, CLUSTERS)),
        "uniroute": lambda fold, seed: uniroute(fold, seed=seed),
        "embedllm": lambda fold, seed: embedllm(fold, seed=seed),
        "irt_router": lambda fold, seed: irt_router(fold, seed=seed),
    }


def probe_method(model: str, folder: Path) -> LocalMethod:
    """Return the probe of a language model's hidden states, which are kept in `folder`.

    The states of a set are computed when the method first meets it: minutes for 2,000 prompts.
    """
    states: dict[str, Float32Array] = {}

    def probe(fold: Fold, _: int) -> MethodPrediction:
        prompts = [*fold.train.prompts, *fold.test.prompts]
        missing = sorted({text for text in prompts if text not in states})
        if missing:
            encoder = HiddenStateEncoder(model, LAYERS, POOLINGS, template=TEMPLATE)
            name = f"prompts{fingerprint(missing)[:8]}"
            rows = stored_states(encoder, name, missing, folder)
            states.update(zip(missing, rows, strict=True))
        return prefill_probe(states)(fold)

    return probe


def _seedless(method: FoldMethod) -> LocalMethod:
    return lambda fold, _: method(fold)
