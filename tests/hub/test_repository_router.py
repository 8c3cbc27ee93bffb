"""The bundled router is pushed to a Hub and read from it in another process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from tryage import Preferences, Router
from tryage.errors import PersistenceError
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.testing import LocalHub

pytestmark = pytest.mark.skipif(
    not (BUNDLED_FOLDER / "router.json").exists(), reason="the bundled router has not been built"
)
NAME = "tester/router"
PROMPTS = ["Prove that there are infinitely many primes.", "Rome: Stadt, 永遠の都 ☀"]
WEIGHTS = Preferences({"cost": 0.1, "size": 0.05}, licenses=["mit", "apache-2.0"])
READ = """
import json, sys
from tryage import Router
router = Router.from_pretrained(sys.argv[1])
decisions = router.route_batch(sys.argv[2:])
print(json.dumps([decision.to_dict(top=3) | {"id": ""} for decision in decisions]))
"""


@pytest.fixture(scope="module")
def router():
    return Router.from_pretrained().with_preferences(WEIGHTS)


@pytest.fixture
def hub(tmp_path):
    with LocalHub() as running, running.patched(tmp_path / "here"):
        yield running


@pytest.fixture
def pushed(hub, router):
    """A Hub with the router, which is not in this machine's cache."""
    router.push_to_hub(NAME)
    return hub


def read(hub, cache, name=NAME, **variables):
    """Read the router in a process of its own, and return its decisions or its error."""
    environment = {**os.environ, **hub.environment(cache), **variables}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", READ, name, *PROMPTS],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def expected(router):
    decisions = [one.to_dict(top=3) | {"id": ""} for one in router.route_batch(PROMPTS)]
    return json.loads(json.dumps(decisions))


def test_another_process_reads_the_pushed_router_and_makes_the_same_decisions(
    pushed, router, tmp_path
):
    assert read(pushed, tmp_path / "there") == expected(router)


def test_a_cached_router_is_read_without_a_network(pushed, router, tmp_path):
    cache = tmp_path / "there"
    read(pushed, cache)
    pushed.close()
    count = len(pushed.requests)
    assert read(pushed, cache) == expected(router)
    assert read(pushed, cache, HF_HUB_OFFLINE="1") == expected(router)
    assert len(pushed.requests) == count


def test_offline_a_router_that_is_not_cached_is_an_error_that_names_it(pushed, tmp_path):
    error = read(pushed, tmp_path / "there", HF_HUB_OFFLINE="1")
    assert "PersistenceError" in error
    assert NAME in error


def test_every_file_is_uploaded_as_it_is_saved_and_large_ones_through_lfs(pushed, router, tmp_path):
    router.save_pretrained(tmp_path)
    uploads = " ".join(one.path for one in pushed.requests if one.method == "PUT")
    for name in ("encoder/table.safetensors", "perception.safetensors", "router.json"):
        content = pushed.files(NAME)[name]
        assert content == (tmp_path / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest() in uploads) is name.endswith(".safetensors")


def test_no_secret_is_in_any_file(pushed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", pushed.token)
    assert pushed.files(NAME)
    for name, content in pushed.files(NAME).items():
        assert pushed.token.encode() not in content, name
        assert str(BUNDLED_FOLDER.parent).encode() not in content, name


def test_an_earlier_revision_is_read_by_its_commit(hub, router):
    first = router.push_to_hub(NAME)
    router.with_preferences(None).push_to_hub(NAME)
    assert Router.from_pretrained(NAME).preferences == Preferences()
    earlier = Router.from_pretrained(NAME, revision=first.rsplit("/", 1)[-1])
    assert earlier.preferences == WEIGHTS
    assert len(hub) == 1


def test_a_private_router_is_read_only_with_a_token(hub, router):
    router.push_to_hub(NAME, private=True)
    with pytest.raises(PersistenceError, match=NAME):
        Router.from_pretrained(NAME, token=False)
    assert Router.from_pretrained(NAME, token=hub.token).preferences == WEIGHTS


def test_a_gated_router_is_read_after_access_is_granted(hub, router):
    hub.add("org/router", {})
    router.push_to_hub("org/router")
    hub.update("org/router", gated="manual")
    with pytest.raises(PersistenceError, match="org/router"):
        Router.from_pretrained("org/router")
    hub.grant("org/router")
    assert Router.from_pretrained("org/router").preferences == WEIGHTS


def test_a_renamed_router_is_read_under_its_old_name(pushed):
    pushed.rename(NAME, "tester/better")
    assert Router.from_pretrained(NAME).preferences == WEIGHTS


def test_a_deleted_router_is_an_error_that_names_it(pushed):
    pushed.remove(NAME)
    with pytest.raises(PersistenceError, match=NAME):
        Router.from_pretrained(NAME)
