"""A router comes back from a folder or a repository the same, and takes no secret along."""

from __future__ import annotations

import datetime
import json
import stat
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load as tensors
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tryage import Expert, Library, Preferences, QTable, Router
from tryage.errors import PersistenceError
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder
from tryage.perception.pretrained import model_card
from tryage.testing import FixedPerception

SECRET = "hf_" + "s3cret" * 5
TOPICS = ("sum", "code", "poem")
PROMPTS = [f"{topic} word{i}" for topic in TOPICS for i in range(20)]
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


@pytest.fixture(scope="module")
def router():
    words = ("[UNK]", *TOPICS, *(f"word{i}" for i in range(20)))
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    made.pre_tokenizer = Whitespace()
    rows = np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32)
    losses = np.float32([[0.1, 0.9, 0.4]] * 20 + [[0.9, 0.1, 0.4]] * 20 + [[0.8, 0.8, 0.4]] * 20)
    table = QTable(tuple(PROMPTS), ("adder", "coder", "chat"), losses)
    perception = fit(table, StaticEncoder.from_rows(rows, made), progress=False)
    library = Library(
        [
            Expert("adder", ("add-1b",), parameters=1e9, released=datetime.date(2025, 1, 1)),
            Expert("coder", parameters=7e9, license="mit", capabilities=frozenset({"tools"})),
            Expert("chat", parameters=70e9, input_price=0.5, metadata={"family": "chatty"}),
        ]
    )
    return Router(
        perception,
        library,
        preferences=Preferences({"size": 0.05}, max_parameters=1e11),
        default="chat",
        strict=False,
        prompt_flags=True,
    )


@pytest.fixture
def folder(router, tmp_path):
    path = tmp_path / "saved"
    router.save_pretrained(path)
    return path


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rewrite(folder, change):
    header = json.loads((folder / HEADER).read_text("utf-8"))
    (folder / HEADER).write_text(json.dumps(change(header)), "utf-8")


def test_the_same_decisions_come_back(router, folder):
    again = Router.from_pretrained(folder)
    flagged = [f"{prompt} [Flag: smallest model]" for prompt in PROMPTS[::7]]
    for ours, theirs in zip(
        router.route_batch(PROMPTS + flagged), again.route_batch(PROMPTS + flagged), strict=True
    ):
        assert ours.expert == theirs.expert
        assert ours.flags == theirs.flags
        for mine, other in zip(ours.ranking, theirs.ranking, strict=True):
            assert other.predicted_loss == pytest.approx(mine.predicted_loss, abs=1e-3)
            assert other.total == pytest.approx(mine.total, abs=1e-3)


def test_everything_an_operator_set_comes_back(router, folder):
    again = Router.from_pretrained(str(folder))
    assert again.library.to_dicts() == router.library.to_dicts()
    assert again.preferences == router.preferences
    assert (again.default, again.strict, again.prompt_flags) == ("chat", False, True)


def test_a_subclass_comes_back_as_itself(folder):
    class Mine(Router):
        pass

    assert type(Mine.from_pretrained(folder)) is Mine


def test_a_folder_holds_exactly_these_files_that_everybody_may_read(folder):
    assert names(folder) == EXPECTED
    for path in folder.rglob("*.*"):
        assert path.suffix in SUFFIXES
        assert path.stat().st_mode & stat.S_IROTH


def test_every_file_is_json_tensors_or_text_and_none_a_pickle(folder):
    for name in names(folder):
        content = (folder / name).read_bytes()
        if name.endswith(".safetensors"):
            assert tensors(content)
        elif name.endswith(".json"):
            assert json.loads(content)
        else:
            assert content.decode("utf-8")


def test_saving_twice_leaves_the_same_folder(router, folder):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    router.save_pretrained(folder)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


@pytest.fixture
def uploads(monkeypatch):
    """What would be sent to the Hub."""
    from huggingface_hub import HfApi

    class Created:
        repo_id = "me/router"

    sent = []

    def upload_folder(_, folder_path, **options):
        files = {name: (folder_path / name).read_bytes() for name in names(folder_path)}
        sent.append((files, options))
        return SimpleNamespace(commit_url="https://hub/me/router/commit/1")

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: Created())
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return sent


def test_a_push_uploads_exactly_what_a_save_writes(router, folder, uploads):
    address = router.push_to_hub("me/router", token=SECRET, commit_message="First")
    assert address == "https://hub/me/router/commit/1"
    ((files, options),) = uploads
    assert files == {name: (folder / name).read_bytes() for name in EXPECTED}
    assert options["commit_message"] == "First"


def test_saving_may_push_too_and_the_token_reaches_no_file(router, tmp_path, uploads):
    router.save_pretrained(tmp_path, repo_id="me/router", push_to_hub=True, token=SECRET)
    ((files, _),) = uploads
    assert set(files) == names(tmp_path) == EXPECTED
    for content in [*files.values(), *((tmp_path / name).read_bytes() for name in EXPECTED)]:
        assert SECRET.encode() not in content


def test_no_secret_given_to_a_constructor_reaches_a_file(router, tmp_path, uploads):
    class Connected(Router):
        def __init__(self, *parts, api_key, **options):
            super().__init__(*parts, **options)
            self.api_key = api_key

    connected = Connected(router.perception, router.library, api_key=SECRET)
    connected.perception.__dict__["client"] = SECRET
    connected.save_pretrained(tmp_path)
    connected.push_to_hub("me/router")
    del connected.perception.__dict__["client"]
    ((files, _),) = uploads
    assert set(files) == names(tmp_path) == EXPECTED
    for name in EXPECTED:
        assert SECRET.encode() not in (tmp_path / name).read_bytes() + files[name]


def test_own_constraints_are_asked_for_again(router, tmp_path):
    def far(library, _):
        return np.linspace(0, 1, len(library))

    Router(
        router.perception,
        router.library,
        constraints={"far": far},
        preferences=Preferences({"far": 9.0}),
    ).save_pretrained(tmp_path)
    with pytest.raises(PersistenceError, match=r"\['far'\]: give them again"):
        Router.from_pretrained(tmp_path)
    again = Router.from_pretrained(tmp_path, constraints={"far": far})
    assert again.route("poem word1").expert.name == "adder"


def test_what_was_onboarded_and_observed_is_saved(router, tmp_path):
    poet = Expert("poet", parameters=2e9)
    taught = router.onboard(poet, {prompt: 0.0 for prompt in PROMPTS if "poem" in prompt})
    taught.save_pretrained(tmp_path)
    again = Router.from_pretrained(tmp_path)
    assert again.library["poet"] == poet
    assert again.route("poem word3").expert.name == "poet"
    assert router.route("poem word3").expert.name == "chat"


def test_a_perception_of_somebody_else_is_not_saved(tmp_path):
    with pytest.raises(PersistenceError, match="FixedPerception cannot be saved"):
        Router(FixedPerception({"a": 0.1})).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("gone", sorted(EXPECTED - {"README.md"}))
def test_a_folder_that_lacks_a_file_is_refused(folder, gone):
    (folder / gone).unlink()
    with pytest.raises(PersistenceError):
        Router.from_pretrained(folder)


@pytest.mark.parametrize("damaged", sorted(EXPECTED - {"README.md"}))
def test_a_folder_with_a_damaged_file_is_refused(folder, damaged):
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:50])
    with pytest.raises(PersistenceError):
        Router.from_pretrained(folder)


@pytest.mark.parametrize(
    "gone", ["format", "library", "preferences", "default", "strict", "prompt_flags", "constraints"]
)
def test_a_header_without_an_entry_is_refused(folder, gone):
    rewrite(folder, lambda header: {k: v for k, v in header.items() if k != gone})
    with pytest.raises(PersistenceError, match="damaged"):
        Router.from_pretrained(folder)


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
        lambda header: header | {"default": "nobody"},
        lambda header: header | {"constraints": None},
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder, change):
    rewrite(folder, change)
    with pytest.raises(PersistenceError, match="damaged"):
        Router.from_pretrained(folder)


def test_a_newer_format_says_to_upgrade(folder):
    rewrite(folder, lambda _: {"format": 99, "what": "we cannot know"})
    with pytest.raises(PersistenceError, match="newer format than 1: upgrade with"):
        Router.from_pretrained(folder)


def test_a_folder_that_is_not_there_says_what_was_expected(tmp_path):
    for given in (tmp_path / "gone", "gone", str(tmp_path / "gone")):
        with pytest.raises(PersistenceError, match="is not a folder; expected one that"):
            Router.from_pretrained(given)


def test_an_empty_folder_holds_no_router(tmp_path):
    with pytest.raises(PersistenceError, match="holds no readable router"):
        Router.from_pretrained(tmp_path)


def test_a_repository_that_cannot_be_fetched_is_a_persistence_error(tmp_path):
    with pytest.raises(PersistenceError, match="'me/router' is neither a folder"):
        Router.from_pretrained("me/router", cache_dir=tmp_path, local_files_only=True)


def test_a_repository_is_fetched_by_its_id_with_the_options_given(router, folder, monkeypatch):
    from tryage.hub import repository as repo

    asked = {}

    def download(repo_id, **options):
        asked.update(repo_id=repo_id, **options)
        return folder

    monkeypatch.setattr(repo, "download_folder", download)
    again = Router.from_pretrained("me/router", revision="v1", token=SECRET)
    assert asked == {"repo_id": "me/router", "revision": "v1", "token": SECRET}
    assert again.library.names == router.library.names


def test_without_a_name_the_bundled_router_is_read(folder, monkeypatch):
    monkeypatch.setattr("tryage.router.BUNDLED_FOLDER", folder)
    assert Router.from_pretrained().default == "chat"


def test_the_model_card_names_the_experts_and_what_was_measured(router, folder):
    card = (folder / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: tryage\n")
    assert "each of 3 language models" in card
    assert "`adder`, `coder`, `chat`\n" in card
    assert "StaticEncoder, 8 dimensions" in card
    for name, value in router.perception.report.items():
        assert f"| {name.replace('_', ' ')} | {value:.4g} |" in card


def test_the_model_card_of_a_large_library_names_some_and_counts_the_rest(router):
    library = Library([f"model-{i}" for i in range(30)])
    card = model_card(router.perception, library)
    assert "`model-11` and 18 more" in card
    assert "model-12" not in card


def test_a_model_card_without_figures_says_so(router):
    parts = ("encoder", "feature_extractor", "head", "abilities", "soft_threshold", "link")
    silent = type(router.perception)(
        router.perception.experts, *(getattr(router.perception, part) for part in parts)
    )
    assert "No figures were measured." in model_card(silent, router.library)
