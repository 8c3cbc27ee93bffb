"""`LocalHub` starts, stops, holds models and leaves no trace in the environment."""

from __future__ import annotations

import os

import httpx
import pytest

from tryage.errors import InputError
from tryage.testing import LocalHub


def test_the_repr_of_a_hub_and_of_its_log_contains_no_token(hub, ask):
    ask.get("/api/models")
    assert hub.token not in repr(hub) + repr(hub.requests) + repr(hub.requests[0].query)
    assert hub.requests[-1].token == hub.token  # so that a test can check it


def test_a_closed_hub_drops_connections_and_starts_again_at_the_same_address(hub, ask):
    hub.add("org/a")
    assert ask.get("/api/models/org/a").status_code == 200
    hub.close()
    with pytest.raises(httpx.TransportError):  # not even over the open connection
        ask.get("/api/models/org/a")
    url = hub.url
    hub.start()
    assert hub.url == url
    assert ask.get("/api/models/org/a").status_code == 200


def test_a_hub_has_no_address_before_it_starts():
    hub = LocalHub()
    assert repr(hub) == "LocalHub(not started, 0 models)"
    with pytest.raises(InputError, match="start"):
        _ = hub.url


def test_a_method_called_for_a_missing_model_says_what_to_do(hub):
    with pytest.raises(InputError, match=r"hub\.add\('org/none'\)"):
        hub.record("org/none")


def test_patched_restores_the_environment(hub, tmp_path):
    from huggingface_hub import constants, hf_api

    def state():
        api = hf_api.api.endpoint
        return dict(os.environ), constants.ENDPOINT, constants.HF_HUB_CACHE, api

    before = state()
    with hub.patched(tmp_path) as inside:
        assert inside is hub
        assert constants.ENDPOINT == hub.url == os.environ["HF_ENDPOINT"]
        assert state() != before
    assert state() == before


def test_a_test_can_add_a_folder_and_commit_files(hub, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("x", encoding="utf-8")
    hub.add("org/folder", tmp_path)
    sha = hub.commit("org/folder", {"b.txt": "y"}, delete=["d/a.txt"])
    assert hub.files("org/folder") == {"b.txt": b"y"}
    assert hub.record("org/folder")["sha"] == sha
    assert hub.files("org/folder", "v9") == {}


def test_models_are_counted_and_iterated_by_name(hub):
    hub.add("org/a")
    assert hub.load({"id": f"org/{name}"} for name in "bc") == 2
    assert (len(hub), list(hub)) == (3, ["org/a", "org/b", "org/c"])
    assert "org/b" in hub
    hub.remove("org/b")
    assert "org/b" not in hub
