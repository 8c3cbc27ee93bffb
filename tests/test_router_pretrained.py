"""Router.save_pretrained, from_pretrained and push_to_hub: nothing is lost, no secret is saved."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.errors import InputError, LibraryError, PersistenceError
from tryage.perception.pretrained import BUNDLED_FOLDER

SECRET = "hf_" + "s3cret" * 5
PROMPTS = [f"{topic} word{i}" for topic in ("sum", "code", "poem") for i in range(20)]


def read_files(folder):
    """Return the content of every file by its path in the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_loaded_router_makes_the_same_decisions(trained_router, router_folder):
    loaded = Router.from_pretrained(router_folder)
    flagged = [f"{prompt} [Flag: smallest model]" for prompt in PROMPTS[::7]]
    before = trained_router.route_batch(PROMPTS + flagged)
    after = loaded.route_batch(PROMPTS + flagged)
    for old, new in zip(before, after, strict=True):
        assert (new.expert, new.flags) == (old.expert, old.flags)
        for one, other in zip(old.ranking, new.ranking, strict=True):
            assert other.predicted_loss == pytest.approx(one.predicted_loss, abs=1e-3)
            assert other.total == pytest.approx(one.total, abs=1e-3)


def test_a_loaded_router_has_the_same_library_preferences_and_settings(
    trained_router, router_folder
):
    loaded = Router.from_pretrained(str(router_folder))
    assert loaded.library.to_dicts() == trained_router.library.to_dicts()
    assert loaded.preferences == trained_router.preferences
    assert (loaded.default, loaded.strict, loaded.prompt_flags) == ("chat", False, True)


def test_a_subclass_loads_itself(router_folder):
    class Mine(Router):
        pass

    assert type(Mine.from_pretrained(router_folder)) is Mine


def test_an_onboarded_expert_is_saved(trained_router, tmp_path):
    poet = Expert("poet", parameters=2e9)
    grown = trained_router.onboard(poet, {prompt: 0.0 for prompt in PROMPTS if "poem" in prompt})
    grown.save_pretrained(tmp_path)
    loaded = Router.from_pretrained(tmp_path)
    assert loaded.library["poet"] == poet
    assert loaded.route("poem word3").expert.name == "poet"
    assert trained_router.route("poem word3").expert.name == "chat"


def test_custom_constraints_must_be_given_again(trained_router, tmp_path):
    def far(library, _):
        return np.linspace(0, 1, len(library))

    Router(
        trained_router.perception,
        trained_router.library,
        constraints={"far": far},
        preferences=Preferences({"far": 9.0}),
    ).save_pretrained(tmp_path)
    with pytest.raises(PersistenceError, match=r"\['far'\]: give them again"):
        Router.from_pretrained(tmp_path)
    loaded = Router.from_pretrained(tmp_path, constraints={"far": far})
    assert loaded.route("poem word1").expert.name == "adder"


def test_saving_twice_gives_the_same_files(trained_router, router_folder):
    before = read_files(router_folder)
    trained_router.save_pretrained(router_folder)
    assert read_files(router_folder) == before


@pytest.fixture
def uploads(monkeypatch):
    """The files and options that would be sent to the Hub."""
    from huggingface_hub import HfApi

    class Created:
        repo_id = "me/router"

    sent = []

    def upload_folder(_, folder_path, **options):
        sent.append((read_files(folder_path), options))
        return SimpleNamespace(commit_url="https://hub/me/router/commit/1")

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: Created())
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return sent


def test_a_push_uploads_the_files_that_a_save_writes(trained_router, router_folder, uploads):
    url = trained_router.push_to_hub("me/router", token=SECRET, commit_message="First")
    assert url == "https://hub/me/router/commit/1"
    ((files, options),) = uploads
    assert files == read_files(router_folder)
    assert options["commit_message"] == "First"


def test_saving_can_also_push_and_no_file_has_the_token(trained_router, tmp_path, uploads):
    trained_router.save_pretrained(tmp_path, repo_id="me/router", push_to_hub=True, token=SECRET)
    ((files, _),) = uploads
    saved = read_files(tmp_path)
    assert set(files) == set(saved)
    for content in [*files.values(), *saved.values()]:
        assert SECRET.encode() not in content


def test_no_file_has_a_secret_of_a_constructor(trained_router, tmp_path, uploads):
    class Connected(Router):
        def __init__(self, *parts, api_key, **options):
            super().__init__(*parts, **options)
            self.api_key = api_key

    connected = Connected(trained_router.perception, trained_router.library, api_key=SECRET)
    connected.perception.__dict__["client"] = SECRET
    connected.save_pretrained(tmp_path)
    connected.push_to_hub("me/router")
    del connected.perception.__dict__["client"]
    ((files, _),) = uploads
    saved = read_files(tmp_path)
    assert set(files) == set(saved)
    for content in [*files.values(), *saved.values()]:
        assert SECRET.encode() not in content


def test_a_repository_is_downloaded_by_its_id_with_the_given_options(
    trained_router, router_folder, monkeypatch
):
    from tryage.hub import repository

    received = {}

    def download(repo_id, **options):
        received.update(repo_id=repo_id, **options)
        return router_folder

    monkeypatch.setattr(repository, "download_folder", download)
    loaded = Router.from_pretrained("me/router", revision="v1", token=SECRET)
    assert received == {"repo_id": "me/router", "revision": "v1", "token": SECRET}
    assert loaded.library.names == trained_router.library.names


def test_without_a_name_the_bundled_router_is_loaded():
    router, same = Router.from_pretrained(), Router.from_pretrained(BUNDLED_FOLDER)
    assert router.library.to_dicts() == same.library.to_dicts()
    assert (router.default, router.preferences) == (same.default, same.preferences)


def test_settings_given_to_from_pretrained_replace_the_saved_ones(router_folder):
    limit = Preferences(max_parameters=2e9)
    loaded = Router.from_pretrained(
        router_folder,
        preferences=limit,
        default="add-1b",
        default_exempt=True,
        strict=True,
        prompt_flags=False,
    )
    assert (loaded.default, loaded.default_exempt, loaded.strict) == ("adder", True, True)
    assert (loaded.preferences, loaded.prompt_flags) == (limit, False)
    kept = Router.from_pretrained(router_folder, strict=True)
    assert (kept.default, kept.strict, kept.prompt_flags) == ("chat", True, True)


def test_the_bundled_router_takes_the_same_settings():
    router = Router.from_pretrained(prompt_flags=True, strict=True, default="gpt-4o-mini")
    assert (router.strict, router.prompt_flags) == (True, True)
    assert router.route("hi [Flag: smallest model]").prompt == "hi"
    assert router.default == router.library["gpt-4o-mini"].name


@pytest.mark.parametrize("name", [None, "folder"])
def test_a_misspelt_setting_is_refused_with_the_nearest_name(name, router_folder):
    folder = None if name is None else router_folder
    with pytest.raises(InputError, match=r"no argument 'prompt_flag'. Did you mean prompt_flags\?"):
        Router.from_pretrained(folder, prompt_flag=True)


def test_a_wrong_setting_is_not_taken_for_a_damaged_file(router_folder):
    with pytest.raises(LibraryError, match="No expert is called 'unknown'"):
        Router.from_pretrained(router_folder, default="unknown")
    with pytest.raises(InputError, match="strict is 'yes'; expected True or False"):
        Router.from_pretrained(router_folder, strict="yes")


def test_options_of_a_push_are_refused_without_a_push_or_if_unknown(trained_router, tmp_path):
    with pytest.raises(InputError, match=r"repo_id, token: only for a push"):
        trained_router.save_pretrained(tmp_path / "r", repo_id="me/router", token=SECRET)
    with pytest.raises(InputError, match=r"no argument 'comit_message'"):
        trained_router.save_pretrained(tmp_path / "r", push_to_hub=True, comit_message="First")
    with pytest.raises(InputError, match=r"Did you mean private"):
        trained_router.push_to_hub("me/router", privat=True)
    assert not (tmp_path / "r").exists()


@pytest.fixture
def privileged_folder(trained_router, tmp_path):
    """The folder of a router that obeys flags and exempts its default."""
    parts = trained_router.perception, trained_router.library
    router = Router(*parts, default="chat", default_exempt=True, prompt_flags=True)
    router.save_pretrained(tmp_path / "privileged")
    return tmp_path / "privileged"


def test_a_local_folder_keeps_flags_and_an_exempt_default(privileged_folder):
    loaded = Router.from_pretrained(privileged_folder)
    assert (loaded.default, loaded.default_exempt, loaded.prompt_flags) == ("chat", True, True)


def test_a_file_from_before_default_exempt_exempts_nothing(privileged_folder):
    path = privileged_folder / "router.json"
    header = json.loads(path.read_text("utf-8"))
    del header["default_exempt"]
    path.write_text(json.dumps(header), "utf-8")
    loaded = Router.from_pretrained(privileged_folder)
    assert (loaded.default, loaded.default_exempt) == ("chat", False)


def test_a_repository_switches_on_neither_flags_nor_an_exempt_default(
    privileged_folder, monkeypatch, caplog
):
    from tryage.hub import repository

    monkeypatch.setattr(repository, "download_folder", lambda _: privileged_folder)
    loaded = Router.from_pretrained("me/router")
    assert (loaded.default, loaded.default_exempt, loaded.prompt_flags) == ("chat", False, False)
    assert [record.name for record in caplog.records] == ["tryage.perception.pretrained"] * 2
    assert "pass prompt_flags=True to from_pretrained" in caplog.text
    assert "pass default_exempt=True to from_pretrained" in caplog.text
    caplog.clear()
    chosen = Router.from_pretrained("me/router", prompt_flags=True, default_exempt=False)
    assert (chosen.default_exempt, chosen.prompt_flags) == (False, True)
    assert caplog.records == []


def test_a_name_that_is_too_long_for_a_folder_is_refused_in_words():
    with pytest.raises(PersistenceError, match="is not a folder"):
        Router.from_pretrained("x" * 5_000)
