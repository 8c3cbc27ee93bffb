"""`--encoder` takes a saved encoder, a router, or a language model with the layers to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tryage import Router
from tryage.cli.options import resolve_encoder
from tryage.errors import InputError, PersistenceError
from tryage.perception.encoder import StaticEncoder
from tryage.perception.hidden_state import HiddenStateEncoder

pytest.importorskip("transformers")


def test_the_folder_of_a_language_model_is_read_at_the_given_layers(llama_folder):
    encoder = resolve_encoder(llama_folder, "1, -1", "last")
    assert isinstance(encoder, HiddenStateEncoder)
    assert encoder.layers == (1, 3)
    assert encoder.block_sizes == (8, 8)


def test_without_layers_the_defaults_are_read(llama_folder):
    assert resolve_encoder(llama_folder).block_sizes == (8, 8, 8, 8)


def test_a_saved_encoder_has_its_own_layers(llama_folder, tmp_path):
    HiddenStateEncoder(llama_folder, [2]).save(tmp_path)
    assert resolve_encoder(tmp_path).layers == (2,)
    with pytest.raises(InputError, match="holds a saved encoder"):
        resolve_encoder(tmp_path, layers="1")


def test_the_bundled_encoder_has_no_layers():
    assert isinstance(resolve_encoder(None), StaticEncoder)
    with pytest.raises(InputError, match="holds a saved encoder"):
        resolve_encoder(None, pooling="mean")


def test_layers_that_are_no_numbers_are_refused(llama_folder):
    with pytest.raises(InputError, match="is not a list of numbers, such as 15,22"):
        resolve_encoder(llama_folder, "first")


@pytest.mark.parametrize("place", ["absent", "/absent/model", "../model", "a/b/c"])
def test_what_is_neither_a_folder_nor_an_id_holds_no_encoder(place):
    with pytest.raises(PersistenceError, match="holds no readable encoder"):
        resolve_encoder(Path(place))


def test_train_makes_a_router_on_a_language_model(tryage, table, llama_folder, tmp_path):
    table.write(tmp_path / "outcomes.csv")
    model = ("--encoder", llama_folder, "--layers", "2,3", "--pooling", "last")
    done = tryage("train", tmp_path / "outcomes.csv", "-o", tmp_path / "mine", *model)
    assert done.exit_code == 0, done.stderr
    router = Router.from_pretrained(tmp_path / "mine")
    assert router.perception.encoder.layers == (2, 3)
    assert router.route("law oslo").expert.name in router.library.names


def test_train_makes_a_router_of_two_stages(tryage, table, llama_folder, tmp_path):
    table.write(tmp_path / "outcomes.csv")
    model = ("--second-encoder", llama_folder, "--layers", "2", "--pooling", "last")
    done = tryage("train", tmp_path / "outcomes.csv", "-o", tmp_path / "mine", *model)
    assert done.exit_code == 0, done.stderr
    assert "ms a prompt. It is asked " in done.stdout
    perception = Router.from_pretrained(tmp_path / "mine").perception
    assert isinstance(perception.encoder, StaticEncoder)
    assert perception.second_stage.perception.encoder.layers == (2,)


def test_layers_without_a_language_model_are_refused(tryage, table, bert_folder, tmp_path):
    table.write(tmp_path / "outcomes.csv")
    options = ("--finetune", bert_folder, "--layers", "1")
    done = tryage("train", tmp_path / "outcomes.csv", "-o", tmp_path / "mine", *options)
    assert done.exit_code == 2
    assert "--finetune has none" in done.stderr
