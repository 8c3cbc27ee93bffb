"""The folder of a saved router: its files, which folders are refused, and the model card."""

from __future__ import annotations

import json
import stat

import pytest
from safetensors.numpy import load as tensors

from tryage import Library, Preferences, Router
from tryage.errors import PersistenceError
from tryage.perception.pretrained import model_card
from tryage.testing import FixedPerception

SUFFIXES = {".json", ".safetensors", ".md", ".onnx"}
HEADER = "router.json"
EXPECTED = {
    "README.md",
    "encoder/encoder.json",
    "encoder/table.safetensors",
    "encoder/tokenizer.json",
    "perception.json",
    "perception.safetensors",
    "router.json",
}


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rewrite(folder, change):
    header = json.loads((folder / HEADER).read_text("utf-8"))
    (folder / HEADER).write_text(json.dumps(change(header)), "utf-8")


def test_a_folder_has_exactly_these_files_and_all_users_may_read_them(router_folder):
    assert names(router_folder) == EXPECTED
    for path in router_folder.rglob("*.*"):
        assert path.suffix in SUFFIXES
        assert path.stat().st_mode & stat.S_IROTH


def test_every_file_is_json_tensors_or_text_and_not_a_pickle(router_folder):
    for name in names(router_folder):
        content = (router_folder / name).read_bytes()
        if name.endswith(".safetensors"):
            assert tensors(content)
        elif name.endswith(".json"):
            assert json.loads(content)
        else:
            assert content.decode("utf-8")


def test_a_perception_of_another_class_is_not_saved(tmp_path):
    with pytest.raises(PersistenceError, match="FixedPerception cannot be saved"):
        Router(FixedPerception({"a": 0.1})).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("missing", sorted(EXPECTED - {"README.md"}))
def test_a_folder_with_a_missing_file_is_refused(router_folder, missing):
    (router_folder / missing).unlink()
    with pytest.raises(PersistenceError):
        Router.from_pretrained(router_folder)


@pytest.mark.parametrize("damaged", sorted(EXPECTED - {"README.md"}))
def test_a_folder_with_a_damaged_file_is_refused(router_folder, damaged):
    path = router_folder / damaged
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(PersistenceError):
        Router.from_pretrained(router_folder)


@pytest.mark.parametrize(
    "missing",
    ["format", "library", "preferences", "default", "strict", "prompt_flags", "constraints"],
)
def test_a_header_without_an_entry_is_refused(router_folder, missing):
    rewrite(router_folder, lambda header: {k: v for k, v in header.items() if k != missing})
    with pytest.raises(PersistenceError, match="damaged"):
        Router.from_pretrained(router_folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: [header],
        lambda header: header | {"format": "new"},
        lambda header: header | {"library": [{"name": ""}]},
        lambda header: header | {"library": header["library"] * 2},
        lambda header: header | {"library": {}},
        lambda header: header | {"preferences": {"weights": {"size": "much"}}},
        lambda header: header | {"preferences": 3},
        lambda header: header | {"default": "unknown"},
        lambda header: header | {"constraints": None},
    ],
)
def test_a_header_with_a_wrong_value_is_refused(router_folder, change):
    rewrite(router_folder, change)
    with pytest.raises(PersistenceError, match="damaged"):
        Router.from_pretrained(router_folder)


def test_a_newer_format_asks_for_an_upgrade(router_folder):
    rewrite(router_folder, lambda _: {"format": 99, "unknown": "entry"})
    with pytest.raises(PersistenceError, match="newer format than 1: upgrade with"):
        Router.from_pretrained(router_folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    for path in (tmp_path / "gone", "gone", str(tmp_path / "gone")):
        with pytest.raises(PersistenceError, match="is not a folder; expected one that"):
            Router.from_pretrained(path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(PersistenceError, match="holds no readable router"):
        Router.from_pretrained(tmp_path)


def test_a_repository_that_cannot_be_downloaded_is_a_persistence_error(tmp_path):
    with pytest.raises(PersistenceError, match="'me/router' is neither a folder"):
        Router.from_pretrained("me/router", cache_dir=tmp_path, local_files_only=True)


def test_the_model_card_has_the_experts_and_the_measured_values(trained_router, router_folder):
    card = (router_folder / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: tryage\n")
    assert "each of 3 language models" in card
    assert "`adder`, `coder`, `chat`\n" in card
    assert "StaticEncoder, 8 dimensions" in card
    for name, value in trained_router.perception.report.items():
        assert f"| {name.replace('_', ' ')} | {value:.4g} |" in card


def test_the_model_card_of_a_large_library_names_some_and_counts_the_rest(trained_router):
    library = Library([f"model-{i}" for i in range(30)])
    card = model_card(trained_router.perception, library)
    assert "`model-11` and 18 more" in card
    assert "model-12" not in card


def test_a_model_card_without_measured_values(trained_router):
    parts = ("encoder", "feature_extractor", "head", "abilities", "soft_threshold", "link")
    unmeasured = type(trained_router.perception)(
        trained_router.perception.experts,
        *(getattr(trained_router.perception, part) for part in parts),
    )
    assert "No figures were measured." in model_card(unmeasured, trained_router.library)


def test_scores_on_held_out_prompts_stand_apart_from_losses_in_training(trained_router):
    perception = trained_router.perception
    measured = dict(perception.report)
    perception.report = {"routed": 0.25, "held_out poems routed": 0.75}
    try:
        card = model_card(perception, trained_router.library)
    finally:
        perception.report = measured
    training, held_out = card.split("## Measured on held-out prompts")
    assert "| routed | 0.25 |" in training
    assert "| poems routed | 0.75 |" in held_out
    assert "higher is better" in held_out


def test_a_full_disk_at_any_file_is_one_error_and_the_old_router_stays(
    router_folder, trained_router, full_disk
):
    before = Router.from_pretrained(router_folder).preferences
    other = trained_router.with_preferences(Preferences({"size": 1.0}))
    sizes = sorted({path.stat().st_size for path in router_folder.rglob("*") if path.is_file()})
    for size in sizes:  # so that each file in turn is the first one without room
        with full_disk(size - 1), pytest.raises(PersistenceError, match=r"unchanged.*make room"):
            other.save_pretrained(router_folder)
        assert Router.from_pretrained(router_folder).preferences == before
        assert names(router_folder) == EXPECTED
    other.save_pretrained(router_folder)
    assert Router.from_pretrained(router_folder).preferences == other.preferences
