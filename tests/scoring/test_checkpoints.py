"""Checkpoints: what is known without loading one, and what is never read."""

from __future__ import annotations

import json
import shutil

import pytest

from tryage.errors import InputError, MeasurementError
from tryage.scoring.checkpoints import expert_from_checkpoint
from tryage.scoring.losses import CausalLM, MaskedLM
from tryage.scoring.measurement import Prompt

PROMPTS = [Prompt("the cat sat on the mat")]


def test_name_and_parameters_are_known_before_a_checkpoint_is_loaded(load, bert, gpt):
    for folder, kind, auto_class in (
        (bert, MaskedLM, "AutoModelForMaskedLM"),
        (gpt, CausalLM, "AutoModelForCausalLM"),
    ):
        expert = kind.from_pretrained(folder).identify().expert
        _, model = load(folder, auto_class)
        assert expert.name == folder.name
        assert expert.parameters == model.num_parameters()


def test_pickled_weights_and_the_code_of_a_repository_are_not_read(torch, bert, tmp_path, measure):
    pickled = tmp_path / "pickled"
    shutil.copytree(bert, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(MeasurementError, match="pickled"):
        measure(MaskedLM.from_pretrained(pickled), PROMPTS)
    coded = tmp_path / "coded"
    shutil.copytree(bert, coded)
    config = json.loads((coded / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoModelForMaskedLM": "own.Own", "AutoConfig": "own.C"},
    }
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(MeasurementError, match="code of their own"):
        measure(MaskedLM.from_pretrained(coded), PROMPTS)
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_a_model_and_an_absent_file_are_rejected(tmp_path, measure):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(MeasurementError, match="cannot be read"):
        measure(MaskedLM.from_pretrained(tmp_path), PROMPTS)
    with pytest.raises(InputError, match="no file"):
        measure(CausalLM.from_pretrained(tmp_path / "absent.gguf"), PROMPTS)


def test_the_parameters_of_a_hub_id_and_of_packed_weights_are_unknown(tmp_path):
    assert expert_from_checkpoint("org/name").parameters is None
    header = json.dumps({"w": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert expert_from_checkpoint(str(tmp_path)).parameters is None
