"""LLMRouter: its KNN, SVM, MLP, MF and graph routers, trained and run by its own classes.

    python llmrouter_adapter.py TASK ... --out FOLDER --encoder FOLDER --router knn

Its encoder, Longformer, is replaced by the common one; settings are the defaults of its classes. It
labels a prompt with the first of all models that answer it equally well.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from peer import OnnxEncoder, Peer, Training, main, mark_choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats

# The module of each router with its classes, the suffix of its files and what it is told.
ROUTERS: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "knn": ("knnrouter", "KNNRouter", "KNNRouterTrainer", "pkl", {"n_neighbors": 5}),
    "svm": ("svmrouter", "SVMRouter", "SVMRouterTrainer", "pkl", {}),
    "mlp": ("mlprouter", "MLPRouter", "MLPTrainer", "pkl", {}),
    "mf": ("mfrouter", "MFRouter", "MFRouterTrainer", "pkl", {"text_dim": 384}),
    "graph": ("graphrouter", "GraphRouter", "GraphTrainer", "pt", {}),
}


class LLMRouter(Peer):
    """One of its routers, over files in a temporary folder, as its command has them."""

    forecasts = False

    def __init__(self, encoder: OnnxEncoder, router: str) -> None:
        """Import the router's module and replace its encoder and its calls of models."""
        super().__init__(encoder)
        folder, self.class_name, self.trainer_name, self.suffix, self.settings = ROUTERS[router]
        self.package = importlib.import_module(f"llmrouter.models.{folder}")
        self.module = importlib.import_module(f"llmrouter.models.{folder}.router")
        self.module.get_longformer_embedding = self._embed
        self.module.call_api = lambda *_, **__: {"response": ""}
        self.known: dict[str, np.ndarray] = {}

    def _embed(self, text: str) -> torch.Tensor:
        row = self.known.get(text)
        return torch.from_numpy(self.encoder.encode([text])[0] if row is None else row)

    def fit(self, training: Training) -> None:
        """Write its files, and train."""
        self.training = training
        torch.manual_seed(training.seed)
        np.random.seed(training.seed)  # noqa: NPY002 - its graph router draws from this generator
        self.folder = tempfile.TemporaryDirectory()
        config = write_files(training, Path(self.folder.name), self.settings, self.suffix)
        with contextlib.redirect_stdout(io.StringIO()):
            self.router = getattr(self.module, self.class_name)(str(config))
            getattr(self.package, self.trainer_name)(self.router, device="cpu").train()
        self.index = {name: i for i, name in enumerate(training.experts)}

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Mark its choices."""
        self.known = dict(zip(prompts, embeddings, strict=True))
        with contextlib.redirect_stdout(io.StringIO()):
            routed = self.router.route_batch([{"query": text} for text in prompts])
        self.known = {}
        return mark_choices([self.index[row["model_name"]] for row in routed], self.training)

    def decide(self, prompt: str) -> str:
        """Return the chosen model's name."""
        with contextlib.redirect_stdout(io.StringIO()):
            return str(self.router.route_single({"query": prompt})["model_name"])


def write_files(training: Training, folder: Path, settings: dict[str, Any], suffix: str) -> Path:
    """Write outcomes, embeddings and settings; return the file of settings."""
    outcomes, embeddings = folder / "routing.jsonl", folder / "embeddings.pt"
    with outcomes.open("w", encoding="utf-8") as file:
        for row in training.usable:
            for name, score in zip(training.experts, training.scores[row], strict=True):
                if not np.isnan(score):
                    line = {"query": training.prompts[row], "model_name": name,
                            "performance": float(score), "embedding_id": int(row)}  # fmt: skip
                    file.write(json.dumps(line) + "\n")
    torch.save(torch.from_numpy(training.embeddings), embeddings)
    model = str(folder / f"model.{suffix}")
    config = {
        "data_path": {
            "routing_data_train": str(outcomes),
            "query_embedding_data": str(embeddings),
        },
        "model_path": {
            "ini_model_path": str(folder / f"absent.{suffix}"),
            "save_model_path": model,
            "load_model_path": model,
        },
        "hparam": settings,
        "api_endpoint": "none",
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


if __name__ == "__main__":
    main({name: partial(LLMRouter, router=name) for name in ROUTERS})
