"""RouteLLM: its matrix factorization, trained by its own loop, and its similarity-weighted ranking.

    python routellm_adapter.py TASK ... --out FOLDER --encoder FOLDER --router mf

Both decide between two models. OpenAI's embeddings are replaced by the common encoder, and the
battles of the arena by the training outcomes: who scores more wins, equal scores are a tie. Its
checkpoints were trained on other embeddings, so they cannot be used.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

os.environ.setdefault("OPENAI_API_KEY", "none")  # its import makes a client, which is never used

import numpy as np
import pandas as pd
import torch
from peer import OnnxEncoder, Peer, Training, main
from routellm.routers import routers as routellm_routers
from routellm.routers.matrix_factorization import model as factorization
from routellm.routers.matrix_factorization import train_matrix_factorization as trainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats

STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"  # its names of the two models

DIM, BATCH, EPOCHS, ALPHA, RATE, DECAY = 128, 64, 100, 0.1, 3e-4, 1e-5  # of its example of training


class RouteLLM(Peer):
    """What both have in common: embeddings, and the win rate of the strong model as the score."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        """Replace the client of embeddings in both modules."""
        super().__init__(encoder)
        self.known: dict[str, np.ndarray] = {}
        client = SimpleNamespace(embeddings=SimpleNamespace(create=self._create))
        routellm_routers.OPENAI_CLIENT = factorization.OPENAI_CLIENT = client

    def _create(self, input: list[str], model: str) -> SimpleNamespace:  # noqa: A002 - OpenAI's name
        del model
        row = self.known.get(input[0])
        found = self.encoder.encode(input)[0] if row is None else row
        return SimpleNamespace(data=[SimpleNamespace(embedding=found.tolist())])

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Return the win rate of the strong model against one half."""
        self.known = dict(zip(prompts, embeddings, strict=True))
        rates = np.array([self.router.calculate_strong_win_rate(text) for text in prompts])
        self.known = {}
        return np.column_stack([rates, np.full(len(rates), 0.5)]).astype(np.float32)

    def decide(self, prompt: str) -> float:
        """Return the win rate of the strong model."""
        return float(self.router.calculate_strong_win_rate(prompt))


class MatrixFactorization(RouteLLM):
    """Its `MatrixFactorizationRouter` with weights from its own training loop."""

    def fit(self, training: Training) -> None:
        """Train on the prompts that one of the two answers better."""
        torch.manual_seed(training.seed)
        battles = [battle for battle in list_battles(training) if battle["winner"] != "tie"]
        n_train = int(len(battles) * 0.95)
        loaders = [
            trainer.PairwiseDataset(part).get_dataloaders(batch_size=size, shuffle=shuffled)
            for part, size, shuffled in (
                (battles[:n_train], BATCH, True),
                (battles[n_train:], 1024, False),
            )
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "embeddings.npy"
            np.save(path, training.embeddings)
            net = trainer.MFModel_Train(
                dim=DIM,
                num_models=len(factorization.MODEL_IDS),
                num_prompts=len(training.prompts),
                text_dim=training.embeddings.shape[1],
                npy_path=path,
            )
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_loops(net, *loaders, lr=RATE, weight_decay=DECAY, alpha=ALPHA,
                                num_epochs=EPOCHS, device="cpu")  # fmt: skip
        self.router = _as_router(net, training.embeddings.shape[1])


def _as_router(net: torch.nn.Module, text_dim: int) -> object:
    """Put trained weights into its router, without the download of its checkpoint."""
    model = factorization.MFModel(DIM, len(factorization.MODEL_IDS), text_dim, 1, use_proj=True)
    model.P.weight.data.copy_(net.P.weight.data)
    model.text_proj[0].weight.data.copy_(net.text_proj.weight.data)
    model.classifier[0].weight.data.copy_(net.classifier.weight.data)
    router = object.__new__(routellm_routers.MatrixFactorizationRouter)
    router.model = model.eval()
    router.strong_model_id = factorization.MODEL_IDS[STRONG]
    router.weak_model_id = factorization.MODEL_IDS[WEAK]
    return router


class SimilarityRanking(RouteLLM):
    """Its `SWRankingRouter` over battles that are the training outcomes."""

    def fit(self, training: Training) -> None:
        """Put the battles into its router, without the download of its own; a tier per model."""
        router = object.__new__(routellm_routers.SWRankingRouter)
        router.strong_model, router.weak_model = STRONG, WEAK
        router.embedding_model = "common"
        tiers = {WEAK: 0, STRONG: 1}
        router.model2tier = tiers
        battles = pd.DataFrame(list_battles(training))
        router.arena_conv_embedding = training.embeddings[battles["idx"].to_numpy()]
        router.arena_df = battles.assign(
            model_a=battles["model_a"].map(tiers), model_b=battles["model_b"].map(tiers)
        )[["model_a", "model_b", "winner"]]
        self.router = router


def list_battles(training: Training) -> list[dict[str, object]]:
    """Return a battle per prompt that both models answered; the order is drawn from the seed."""
    battles = []
    for row in np.random.default_rng(training.seed).permutation(len(training.prompts)):
        strong, weak = training.scores[row]
        if not np.isnan(strong + weak):
            winner = "tie" if strong == weak else "model_a" if strong > weak else "model_b"
            battles.append({"model_a": STRONG, "model_b": WEAK, "winner": winner, "idx": int(row)})
    return battles


if __name__ == "__main__":
    main({"mf": MatrixFactorization, "sw": SimilarityRanking})
