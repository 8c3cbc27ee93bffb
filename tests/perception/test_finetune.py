"""Training end to end: it learns, stops, and a killed run equals one that was not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")

from tryage.errors import PersistenceError, QTableError  # noqa: E402 - after the optional packages
from tryage.learning.qtable import QTable  # noqa: E402
from tryage.learning.training.distill import (  # noqa: E402
    drop_layers,
    drop_tokens,
    principal_axes,
    train_static,
    train_transformer,
)
from tryage.learning.training.finetune import FinetuneConfig, _FinetuneRun, finetune  # noqa: E402
from tryage.learning.training.optimizer import ResumableTrainer, Schedule  # noqa: E402
from tryage.learning.training.teacher import Teacher, embed_with_cache  # noqa: E402

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "code", "poem")
RECIPE = FinetuneConfig(
    Schedule(6, 1e-2, batch_size=256, dropout=0.0, save_every=3), rank=2, max_length=16
)


@pytest.fixture(scope="module")
def start(tiny_bert, word_pieces, tmp_path_factory):
    """A folder with a tiny random BERT and its tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert(len(WORDS), spread=0.3).save_pretrained(folder)
    word_pieces(WORDS).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def table() -> QTable:
    """Two sources: the coder is good at code, the poet at poems; a third expert has gaps."""
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
def whole(start, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return finetune(table, start, folder, config=RECIPE, progress=False)


def test_it_learns_what_prompts_tell_about_losses(whole):
    before, after = whole.held_out[0], min(whole.held_out)
    assert after < 0.3 * before


def test_the_trained_encoder_tells_the_two_kinds_apart(whole, table):
    rows = whole.encoder.encode(table.prompts)
    code = np.array(["code" in prompt for prompt in table.prompts])
    between = rows[code].mean(0) - rows[~code].mean(0)
    side = (rows - rows.mean(0)) @ between > 0
    assert (side == code).mean() > 0.9


def test_a_killed_run_goes_on_exactly_where_it_was(start, table, tmp_path, whole, monkeypatch):
    step, calls = ResumableTrainer._step, []

    def die(self, *rest):
        calls.append(self.steps)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return step(self, *rest)

    monkeypatch.setattr(ResumableTrainer, "_step", die)
    run = {"recipe": RECIPE, "checkpoint": tmp_path / "state", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        finetune(table, start, tmp_path / "out", **run)
    again = finetune(table, start, tmp_path / "out", **run)
    assert calls[:8] == list(range(8))
    assert 0 < calls[8] < 8
    assert again.validation_errors == whole.held_out
    texts = table.prompts[:20]
    np.testing.assert_array_equal(again.encoder.encode(texts), whole.encoder.encode(texts))


def test_a_checkpoint_is_whole_whenever_the_process_dies(tmp_path, monkeypatch):
    weight = torch.nn.Parameter(torch.zeros(2))
    path = tmp_path / "state.safetensors"
    descent = ResumableTrainer({"w": weight}, Schedule(1, 0.1), path=path, progress=False)
    descent.save()
    before = path.read_bytes()

    def half(_tensors, file, _metadata):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        descent.save()
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    ResumableTrainer({"a": torch.nn.Parameter(torch.zeros(2))}, Schedule(1, 0.1), path=path).save()
    with pytest.raises(PersistenceError, match="another model"):
        ResumableTrainer({"b": torch.nn.Parameter(torch.zeros(2))}, Schedule(1, 0.1), path=path)


def test_the_seed_decides_the_result(start, table, tmp_path):
    short = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=1))
    same = [finetune(table, start, tmp_path / n, config=short, progress=False) for n in "ab"]
    other = replace(short, schedule=replace(short.schedule, seed=1))
    third = finetune(table, start, tmp_path / "c", config=other, progress=False)
    assert same[0].validation_errors == same[1].validation_errors
    assert third.validation_errors != same[0].validation_errors


def test_only_measured_cells_count(start, table):
    teacher = Teacher.load(start)
    run = _FinetuneRun(teacher.model, teacher.token_ids(table.prompts), table, RECIPE)
    with torch.no_grad():
        run.head[-1].bias.fill_(1.0)
    rows = np.array([0, 1, 70])  # the third expert was not measured on the last one
    goal = run.targets[rows].numpy()
    expected = np.nanmean((1 - goal) ** 2, axis=1)
    np.testing.assert_allclose(run._squared_errors(rows).detach(), expected, rtol=1e-5)


def test_an_expert_without_a_measurement_changes_nothing(start, table, tmp_path):
    short = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=2))
    gaps = np.full((len(table), 1), np.nan, np.float32)
    wider = QTable(table.prompts, (*table.experts, "idle"), np.hstack([table.losses, gaps]))
    results = [
        finetune(t, start, tmp_path / str(i), config=short, progress=False).validation_errors
        for i, t in enumerate((table, wider))
    ]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)


def test_it_stops_early_and_keeps_the_best_weights(start, table, tmp_path):
    wild = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=30, learning_rate=50.0))
    result = finetune(table, start, tmp_path, config=replace(wild, patience=1), progress=False)
    assert len(result.validation_errors) == 2
    assert result.validation_errors[0] < result.validation_errors[1]
    texts = table.prompts[:20]
    agreement = (result.encoder.encode(texts) * Teacher.load(start).embed(texts)).sum(1)
    assert agreement.min() > 0.97  # the start was best


def test_too_few_prompts_are_refused(start, table, tmp_path):
    with pytest.raises(QTableError, match="at least 10"):
        finetune(table.take(range(8)), start, tmp_path, config=RECIPE, progress=False)


def test_a_pruned_student_learns_its_teacher(start):
    teacher = Teacher.load(start)
    texts = [f"{a} {b} {c}" for a in "abcd" for b in "efgh" for c in ("code", "poem")]
    ids, targets = teacher.token_ids(texts), teacher.embed(texts)
    student = drop_layers(teacher, [1])
    before = (Teacher(student, teacher.tokenizer).embed_ids(ids) * targets).sum(1).mean()
    schedule = Schedule(20, 3e-3, batch_size=64, dropout=0.0)
    train_transformer(student, ids, targets, schedule, max_length=16)
    after = (Teacher(student, teacher.tokenizer).embed_ids(ids) * targets).sum(1).mean()
    assert len(student.encoder.layer) == 1
    assert len(teacher.model.encoder.layer) == 2
    assert 1 - after < 0.5 * (1 - before)


def test_a_token_table_learns_its_teacher():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 8)).astype(np.float32)
    ids = [rng.integers(0, 30, rng.integers(1, 6)) for _ in range(400)]
    targets = np.stack([truth[i].sum(0) for i in ids])
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    start = rng.normal(scale=0.1, size=(30, 8)).astype(np.float32)
    learned = train_static(start, ids, targets, Schedule(60, 0.1, batch_size=50, dropout=0.0))
    sums = np.stack([learned[i].sum(0) for i in ids])
    assert ((sums * targets).sum(1) / np.linalg.norm(sums, axis=1)).mean() > 0.97


def test_thinning_keeps_the_order_and_says_where_each_text_starts():
    ids = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6])]
    tokens, starts = drop_tokens(ids, 0.0, np.random.default_rng(0))
    assert tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert starts.tolist() == [0, 3, 4]
    tokens, starts = drop_tokens(ids, 1.0, np.random.default_rng(0))
    assert tokens.tolist() == []
    assert starts.tolist() == [0, 0, 0]


def test_principal_axes_keep_the_cosines_of_what_lies_in_them():
    rng = np.random.default_rng(0)
    flat = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 10))).astype(np.float32)
    axes = principal_axes(flat, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(flat @ axes @ axes.T, flat, atol=1e-3)


def test_embedding_many_texts_goes_on_after_a_stop(start, tmp_path, monkeypatch):
    teacher = Teacher.load(start)
    monkeypatch.setattr("tryage.learning.training.teacher.SHARD", 2)
    texts = ["a", "b c", "code", "poem a", "d"]
    first = embed_with_cache(teacher, texts[:4], tmp_path)
    seen = []
    embed = Teacher.embed
    monkeypatch.setattr(Teacher, "embed", lambda self, t: seen.extend(t) or embed(self, t))
    second = embed_with_cache(teacher, texts, tmp_path)
    assert seen == ["d"]
    np.testing.assert_array_equal(second[:4], first)


def command(*words):
    from typer.testing import CliRunner

    from tryage.cli import app

    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_the_command_trains_end_to_end_and_goes_on_from_its_checkpoint(
    start, table, tmp_path, monkeypatch
):
    from tryage import Router

    pytest.importorskip("pyarrow")
    table.take(table.measured.any(axis=1)).write(tmp_path / "table.csv")
    words = (tmp_path / "table.csv", "--finetune", start, "--checkpoint", tmp_path / "stages", "-o")
    done = command(*words, tmp_path / "one")
    assert done.exit_code == 0, done.stderr
    told = done.stdout.splitlines()[0]
    assert told.startswith("End to end, ")
    assert "squared error on prompts held out of it" in told
    assert len([*(tmp_path / "stages").glob("finetune-*.safetensors")]) == 1
    router = Router.from_pretrained(tmp_path / "one")
    assert router.perception.encoder.dim == 16
    assert (tmp_path / "one" / "encoder" / "model.safetensors").exists()  # can be trained on

    monkeypatch.setattr(
        ResumableTrainer, "_step", lambda *_: pytest.fail("a finished run is not repeated")
    )
    assert command(*words, tmp_path / "two").exit_code == 0
    again = Router.from_pretrained(tmp_path / "two")
    rows = [one.perception.predict(["a code b", "a poem c"]).losses for one in (router, again)]
    np.testing.assert_array_equal(*rows)


def test_the_command_refuses_two_encoders_and_a_folder_that_is_no_bert(start, table, tmp_path):
    import shutil

    pytest.importorskip("pyarrow")
    table.take(table.measured.any(axis=1)).write(tmp_path / "table.csv")
    words = (tmp_path / "table.csv", "-o", tmp_path / "out", "--finetune")
    both = command(*words, start, "--encoder", start)
    none = command(*words, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(start, other)
    (other / "config.json").write_text('{"model_type": "llama"}')
    kind = command(*words, other)
    assert [done.exit_code for done in (both, none, kind)] == [2, 2, 2]
    assert "give it or --encoder, not both" in both.stderr
    assert "has no config.json, model.safetensors, tokenizer.json" in none.stderr
    assert "of the kind 'llama'; expected 'bert'" in kind.stderr
    assert not (tmp_path / "out").exists()


def test_without_torch_the_extra_is_named(start, table, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    table.take(table.measured.any(axis=1)).write(tmp_path / "table.csv")
    monkeypatch.setattr(
        "tryage.core.validation.find_spec", lambda name: None if name == "torch" else name
    )
    done = command(tmp_path / "table.csv", "-o", tmp_path / "out", "--finetune", start)
    assert done.exit_code == 2
    assert "pip install 'tryage[train]'" in done.stderr
