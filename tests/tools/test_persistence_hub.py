"""A ranker pushed to the Hub and read again selects as before, with what it learned from use."""

from __future__ import annotations

import pytest

from tryage.errors import PersistenceError
from tryage.testing import LocalHub
from tryage.tools import ToolRanker

FOOD = "Where can I eat tonight?"


@pytest.fixture
def hub(tmp_path):
    with LocalHub() as local, local.patched(tmp_path / "cache"):
        yield local


def test_a_pushed_ranker_selects_as_before(hub, ranker, tools):
    ranker.observe(FOOD, useful=["translate"])
    address = ranker.push_to_hub("tester/ranker", token=hub.token)
    assert address.startswith(f"{hub.url}/tester/ranker/commit/")
    pulled = ToolRanker.from_pretrained("tester/ranker", token=hub.token)
    before, after = (one.select(tools, FOOD) for one in (ranker, pulled))
    assert after.names == before.names
    assert [one.total for one in after.ranking] == [one.total for one in before.ranking]
    assert after.needed == before.needed
    assert len(pulled.feedback) == 1


def test_only_data_is_uploaded_and_no_token(hub, ranker):
    ranker.push_to_hub("tester/ranker", token=hub.token, private=True)
    files = hub.files("tester/ranker")
    assert {"README.md", "ranker.json", "ranker.safetensors"} <= set(files)
    endings = {name.rpartition(".")[2] for name in files}
    assert endings <= {"json", "safetensors", "md", "txt", "gitattributes"}
    assert not any(hub.token.encode() in content for content in files.values())
    assert hub.record("tester/ranker")["private"] is True


def test_a_repository_with_a_router_is_refused(hub):
    from tryage import Router

    Router.from_pretrained().push_to_hub("tester/router", token=hub.token)
    with pytest.raises(PersistenceError, match="tool ranker"):
        ToolRanker.from_pretrained("tester/router", token=hub.token)


def test_a_repository_that_does_not_exist_is_named(hub):
    with pytest.raises(PersistenceError, match="'tester/missing'"):
        ToolRanker.from_pretrained("tester/missing", token=hub.token)
