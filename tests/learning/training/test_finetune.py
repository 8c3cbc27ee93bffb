"""An encoder trained end to end learns, stops early, and resumes to the same result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")

import torch
import transformers

from tryage.errors import QTableError
from tryage.learning.training.finetune import (
    FinetuneConfig,
    _FinetuneRun,
    export_encoder,
    finetune,
    shuffled_length_batches,
)
from tryage.learning.training.optimizer import ResumableTrainer, Schedule
from tryage.perception.tokenizer_file import read_tokenizer
from tryage.perception.transformer import mean_pool, run_bert
from tryage.scoring.qtable import QTable

CONFIG = FinetuneConfig(
    Schedule(6, 1e-2, batch_size=256, dropout=0.0, save_every=3), rank=2, max_length=16
)


@pytest.fixture(scope="module")
def table() -> QTable:
    """The coder is good at code, the poet at poems; a third expert and one prompt have gaps."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 120)
    texts = [
        " ".join(
            [*rng.choice(list("abcdefgh"), 5), ("code", "poem")[k], *rng.choice(list("abc"), 2)]
        )
        for k in kinds
    ]
    losses = np.stack([kinds, 1 - kinds, kinds], axis=1).astype(np.float32)
    losses[60:, 2] = np.nan
    losses[5] = np.nan
    return QTable(tuple(texts), ("coder", "poet", "other"), losses)


@pytest.fixture(scope="module")
def uninterrupted(bert_folder, table, tmp_path_factory):
    return finetune(
        table, bert_folder, tmp_path_factory.mktemp("whole"), config=CONFIG, progress=False
    )


def bert_and_ids(folder, texts):
    """Load the BERT of a folder, and cut texts into its token ids."""
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    tokenizer.no_padding()
    return model, [np.array(e.ids, np.int64) for e in tokenizer.encode_batch(list(texts))]


def embed(folder, texts):
    model, ids = bert_and_ids(folder, texts)
    with torch.inference_mode():
        return mean_pool(*run_bert(model, ids)).numpy()


def test_the_validation_error_falls_where_prompts_decide_the_losses(uninterrupted):
    errors = uninterrupted.validation_errors
    assert min(errors) < 0.3 * errors[0]


def test_the_trained_encoder_separates_two_kinds_of_prompts(uninterrupted, table):
    rows = uninterrupted.encoder.encode(table.prompts)
    code = np.array(["code" in prompt for prompt in table.prompts])
    between = rows[code].mean(0) - rows[~code].mean(0)
    side = (rows - rows.mean(0)) @ between > 0
    assert (side == code).mean() > 0.9


def test_a_resumed_run_equals_an_uninterrupted_one(
    bert_folder, table, tmp_path, uninterrupted, monkeypatch
):
    step, steps = ResumableTrainer._step, []

    def stop_at_the_eighth(self, *rest):
        steps.append(self.steps)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return step(self, *rest)

    monkeypatch.setattr(ResumableTrainer, "_step", stop_at_the_eighth)
    run = {"config": CONFIG, "checkpoint": tmp_path / "state", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        finetune(table, bert_folder, tmp_path / "out", **run)
    resumed = finetune(table, bert_folder, tmp_path / "out", **run)
    assert steps[:8] == list(range(8))
    assert 0 < steps[8] < 8
    assert resumed.validation_errors == uninterrupted.validation_errors
    texts = table.prompts[:20]
    np.testing.assert_array_equal(
        resumed.encoder.encode(texts), uninterrupted.encoder.encode(texts)
    )


def test_the_seed_decides_the_result(bert_folder, table, tmp_path):
    short = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=1))
    other = replace(short, schedule=replace(short.schedule, seed=1))
    one, same, different = (
        finetune(table, bert_folder, tmp_path / str(i), config=config, progress=False)
        for i, config in enumerate((short, short, other))
    )
    assert one.validation_errors == same.validation_errors
    assert different.validation_errors != one.validation_errors


def test_only_measured_cells_count(bert_folder, table):
    run = _FinetuneRun(*bert_and_ids(bert_folder, table.prompts), table, CONFIG)
    with torch.no_grad():
        run.head[-1].bias.fill_(1.0)
    rows = np.array([0, 1, 70])  # the third expert was not measured on the last one
    goal = run.targets[rows].numpy()
    expected = np.nanmean((1 - goal) ** 2, axis=1)
    np.testing.assert_allclose(run._squared_errors(rows).detach(), expected, rtol=1e-5)


def test_an_expert_without_a_measurement_changes_nothing(bert_folder, table, tmp_path):
    short = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=2))
    gaps = np.full((len(table), 1), np.nan, np.float32)
    wider = QTable(table.prompts, (*table.experts, "idle"), np.hstack([table.losses, gaps]))
    results = [
        finetune(t, bert_folder, tmp_path / str(i), config=short, progress=False).validation_errors
        for i, t in enumerate((table, wider))
    ]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)


def test_it_stops_early_and_keeps_the_best_weights(bert_folder, table, tmp_path):
    wild = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=30, learning_rate=50.0))
    config = replace(wild, patience=1)
    result = finetune(table, bert_folder, tmp_path, config=config, progress=False)
    assert len(result.validation_errors) == 2
    assert result.validation_errors[0] < result.validation_errors[1]
    texts = table.prompts[:20]
    cosines = (result.encoder.encode(texts) * embed(bert_folder, texts)).sum(1)
    assert cosines.min() > 0.97  # the weights at the start were best


def test_fewer_than_ten_prompts_are_refused(bert_folder, table, tmp_path):
    with pytest.raises(QTableError, match="at least 10"):
        finetune(table.take(range(8)), bert_folder, tmp_path, config=CONFIG, progress=False)


def test_an_exported_encoder_embeds_as_the_model_does(bert_folder, tmp_path):
    texts = ["a b code", "poem", "c d e f g h"]
    model, _ = bert_and_ids(bert_folder, texts)
    tokenizer = read_tokenizer(bert_folder / "tokenizer.json")
    encoder = export_encoder(model, tokenizer, tmp_path, quantize=False)
    np.testing.assert_allclose(encoder.encode(texts), embed(bert_folder, texts), atol=1e-5)


def test_batches_hold_every_text_once_and_no_more_padded_tokens_than_allowed():
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    batches = shuffled_length_batches(lengths, 256, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert max(len(batch) * lengths[batch].max() for batch in batches) < 256 / 0.9
    others = shuffled_length_batches(lengths, 256, np.random.default_rng(2))
    assert [b.tolist() for b in others] != [b.tolist() for b in batches]
