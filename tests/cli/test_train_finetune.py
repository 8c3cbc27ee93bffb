"""`tryage train --finetune`: an encoder is trained end to end, and its router on top of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("pyarrow")

from tryage import Router
from tryage.learning.training.optimizer import ResumableTrainer


@pytest.fixture
def outcomes(table, tmp_path):
    path = tmp_path / "outcomes.csv"
    table.write(path)
    return path


def test_the_command_trains_end_to_end_and_goes_on_from_its_checkpoint(
    tryage, outcomes, bert_folder, tmp_path, monkeypatch
):
    stages = tmp_path / "stages"
    words = ("train", outcomes, "--finetune", bert_folder, "--checkpoint", stages, "-o")
    done = tryage(*words, tmp_path / "one")
    assert done.exit_code == 0, done.stderr
    first_line = done.stdout.splitlines()[0]
    assert first_line.startswith("End to end, ")
    assert "squared error on held-out prompts" in first_line
    assert len([*stages.glob("finetune-*.safetensors")]) == 1
    router = Router.from_pretrained(tmp_path / "one")
    assert router.perception.encoder.dim == 16
    assert (tmp_path / "one" / "encoder" / "model.safetensors").exists()  # can be trained on

    monkeypatch.setattr(
        ResumableTrainer, "_step", lambda *_: pytest.fail("a finished run is not repeated")
    )
    assert tryage(*words, tmp_path / "two").exit_code == 0
    again = Router.from_pretrained(tmp_path / "two")
    rows = [one.perception.predict(["a code b", "a poem c"]).losses for one in (router, again)]
    np.testing.assert_array_equal(*rows)


def test_the_command_refuses_two_encoders_and_a_folder_that_is_not_a_bert(
    tryage, outcomes, bert_folder, tmp_path
):
    words = ("train", outcomes, "-o", tmp_path / "out", "--finetune")
    both = tryage(*words, bert_folder, "--encoder", bert_folder)
    empty = tryage(*words, tmp_path)
    llama = tmp_path / "llama"
    shutil.copytree(bert_folder, llama)
    (llama / "config.json").write_text('{"model_type": "llama"}')
    kind = tryage(*words, llama)
    assert [done.exit_code for done in (both, empty, kind)] == [2, 2, 2]
    assert "give it or --encoder, not both" in both.stderr
    assert "has no config.json, model.safetensors, tokenizer.json" in empty.stderr
    assert "of the kind 'llama'; expected 'bert'" in kind.stderr
    assert not (tmp_path / "out").exists()


def test_without_torch_the_extra_is_named(tryage, outcomes, bert_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tryage.core.validation.find_spec", lambda name: None if name == "torch" else name
    )
    done = tryage("train", outcomes, "-o", tmp_path / "out", "--finetune", bert_folder)
    assert done.exit_code == 2
    assert "pip install 'tryage[train]'" in done.stderr
