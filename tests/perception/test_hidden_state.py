"""The encoder of hidden states: its settings, its rows, how it is saved, and what it refuses."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest

from tryage.errors import InputError, MissingExtraError, PerceptionError, PersistenceError
from tryage.perception import language_model
from tryage.perception.encoder import Encoder
from tryage.perception.hidden_state import HiddenStateEncoder
from tryage.perception.persistence import load_encoder

torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

TEXTS = ["a b c", "poem", "", "code a a a a", "   "]
WITH_TOKENS = [0, 1, 3]


@pytest.fixture(scope="module")
def folder(llama_folder):
    return llama_folder


@pytest.fixture(scope="module")
def encoder(folder):
    return HiddenStateEncoder(folder, (1, 3), device="cpu")


def test_it_keeps_the_protocol_and_announces_a_block_for_each_layer_and_pooling(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.block_sizes == (8, 8, 8, 8)
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)
    assert encoder.encode(TEXTS).dtype == np.float32
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.vocabulary == 14
    assert encoder.token_ids(["a b"])[0].tolist() == [1, 2]
    np.testing.assert_array_equal(encoder.count_tokens(TEXTS), [3, 1, 0, 5, 0])


def test_all_blocks_have_the_same_length_and_a_prompt_without_a_token_is_zeros(encoder):
    rows = encoder.encode(TEXTS).reshape(len(TEXTS), 4, 8)
    np.testing.assert_array_equal(rows[[2, 4]], 0)
    np.testing.assert_allclose(np.linalg.norm(rows[WITH_TOKENS], axis=2), 0.5, atol=1e-6)


def test_a_batch_gives_the_rows_that_each_prompt_has_alone(encoder):
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=1e-5)


def test_blocks_are_in_the_order_of_layers_then_poolings(folder, encoder):
    one = HiddenStateEncoder(folder, [3], "last", device="cpu")
    np.testing.assert_allclose(
        one.encode(TEXTS) / 2, encoder.encode(TEXTS)[:, 24:], atol=1e-6
    )  # four blocks have half the length of one


def test_a_long_prompt_is_read_at_both_ends(folder):
    encoder = HiddenStateEncoder(folder, max_length=6, device="cpu")
    long, short = "a b c" + " d" * 300 + " e f g", "a b c e f g"
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode([short]), atol=1e-6)


def test_a_template_is_read_around_the_prompt(folder):
    """The last state is that of the end of the template, after the prompt."""
    templated = HiddenStateEncoder(folder, [2], "last", template="a {prompt} how hard ?")
    plain = HiddenStateEncoder(folder, [2], "last")
    np.testing.assert_allclose(
        templated.encode(["code b"]), plain.encode(["a code b how hard ?"]), atol=1e-5
    )


def test_a_bert_is_read_between_its_special_tokens(bert_folder):
    encoder = HiddenStateEncoder(bert_folder, [-1], "mean", max_length=32)
    model = transformers.BertModel.from_pretrained(bert_folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        states = model(torch.tensor([[2, 4, 5, 3]])).last_hidden_state[0, 1:3].mean(0).numpy()
    np.testing.assert_allclose(
        encoder.encode(["a b"])[0], states / np.linalg.norm(states), atol=1e-5
    )


# Saving


def test_a_saved_encoder_names_its_model_and_comes_back_the_same(encoder, folder, tmp_path):
    encoder.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.json"]
    header = json.loads((tmp_path / "encoder.json").read_text())
    assert header["kind"] == "hidden-state"
    assert header["model"] == str(folder)
    assert (header["layers"], header["poolings"]) == ([1, 3], ["mean", "last"])
    again = load_encoder(tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_copied_weights_make_a_folder_that_needs_no_other(folder, tmp_path):
    here, there, source = tmp_path / "here", tmp_path / "there", tmp_path / "source"
    shutil.copytree(folder, source)
    encoder = HiddenStateEncoder(source, copy_weights=True)
    expected = encoder.encode(TEXTS)
    encoder.save(here)
    shutil.rmtree(source)
    shutil.move(here, there)
    again = load_encoder(there)
    np.testing.assert_array_equal(again.encode(TEXTS), expected)
    again.save(tmp_path / "second")  # a copy of a copy
    np.testing.assert_array_equal(load_encoder(tmp_path / "second").encode(TEXTS), expected)


def test_an_absent_model_is_named_with_what_to_do(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    HiddenStateEncoder(tmp_path / "model").save(tmp_path / "encoder")
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(
        PersistenceError, match=r'is not a folder.*write where it is now as "model"'
    ):
        load_encoder(tmp_path / "encoder")


def test_a_pickled_encoder_reads_its_model_again(encoder):
    again = pickle.loads(pickle.dumps(encoder))  # noqa: S301 - from this line
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert repr(again) == repr(encoder)


def test_a_header_cannot_switch_on_the_code_of_a_repository(encoder, tmp_path):
    encoder.save(tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trust_remote_code": True}))
    calls = []
    original = transformers.AutoModel.from_pretrained
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            transformers.AutoModel,
            "from_pretrained",
            lambda *args, **options: calls.append(options) or original(*args, **options),
        )
        load_encoder(tmp_path)
    assert [options["trust_remote_code"] for options in calls] == [False]


@pytest.mark.parametrize(
    "change", [{"layers": [9]}, {"layers": ["a"]}, {"poolings": ["max"]}, {"dtype": "int3"}]
)
def test_a_header_with_an_impossible_setting_is_refused(encoder, tmp_path, change):
    encoder.save(tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PersistenceError):
        load_encoder(tmp_path)


# What it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "expected mean or last"),
        ({"pooling": ()}, "expected mean or last"),
        ({"pooling": ("last", "last")}, "expected mean or last"),
        ({"template": "no place"}, "prompt} once"),
        ({"template": None}, "prompt} once"),
        ({"dtype": "int8"}, "expected float32"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 300}, "lower max_length"),
        ({"layers": (1.5,)}, "expected different numbers"),
        ({"layers": ()}, "expected different numbers"),
        ({"layers": 2}, "expected different numbers"),
        ({"layers": (True,)}, "expected different numbers"),
        ({"pooling": 2}, "expected mean or last"),
        ({"pooling": ["last", ["mean"]]}, "expected mean or last"),
    ],
)
def test_an_impossible_setting_is_refused(folder, options, message):
    with pytest.raises(InputError, match=message):
        HiddenStateEncoder(folder, **options)


@pytest.mark.parametrize("prompts", ["one string", [None], [3]])
def test_what_is_no_list_of_texts_is_refused(encoder, prompts):
    with pytest.raises(InputError):
        encoder.encode(prompts)


def test_a_name_that_is_neither_a_folder_nor_an_id_is_refused(tmp_path):
    with pytest.raises(PersistenceError, match="or the id of one on the Hugging Face Hub"):
        HiddenStateEncoder(tmp_path / "absent")


@pytest.mark.parametrize("model", [None, 3])
def test_a_model_that_is_neither_a_path_nor_a_text_is_refused(model):
    with pytest.raises(InputError, match="expected the folder of a language model"):
        HiddenStateEncoder(model)


def test_a_device_that_is_not_there_is_named(folder):
    with pytest.raises(PersistenceError, match="on 'cuda:9'"):
        HiddenStateEncoder(folder, device="cuda:9")


def test_without_torch_the_extra_is_named(folder, monkeypatch):
    def refuse(package, extra):
        raise MissingExtraError(f"{package} is in {extra}")

    monkeypatch.setattr(language_model, "require_extra", refuse)
    with pytest.raises(MissingExtraError, match="torch is in deep"):
        HiddenStateEncoder(folder)


# Models of the Hub


def test_a_model_of_the_hub_is_saved_by_its_id_and_commit(folder, tmp_path, monkeypatch):
    commit = "0123abcd"
    shutil.copytree(folder, tmp_path / commit)
    asked = []

    def download(repo_id, **options):
        asked.append((repo_id, options["revision"]))
        return str(tmp_path / commit)

    monkeypatch.setattr("tryage.hub.repository.snapshot_download", download)
    encoder = HiddenStateEncoder("org/model", [2], revision="main")
    encoder.save(tmp_path / "encoder")
    header = json.loads((tmp_path / "encoder" / "encoder.json").read_text())
    assert (header["model"], header["revision"]) == ("org/model", commit)
    again = load_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert asked == [("org/model", "main"), ("org/model", commit)]


def test_states_that_are_not_finite_are_refused(folder):
    encoder = HiddenStateEncoder(folder)
    with torch.no_grad():
        encoder._language_model._model.embed_tokens.weight[9] = float("nan")
    with pytest.raises(PerceptionError, match="use float32 or bfloat16"):
        encoder.encode(["a", "code"])
