"""A short run of the canaries in LiteLLM's own proxy; it is installed in a lane alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"

NAMES = ("canary_search", "canary_servers", "canary_litellm")

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(900)]


@pytest.fixture
def search(monkeypatch):
    pytest.importorskip("litellm")
    if not FOLDER.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("canary_search")
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_no_key_of_a_deployment_is_in_what_tryage_makes_of_it(search, tmp_path, monkeypatch):
    from canary_litellm import litellm_proxy

    monkeypatch.chdir(tmp_path)
    sweep = search.Sweep("signs", tmp_path)
    with sweep.captured(), sweep.environment():
        litellm_proxy(sweep)
    surfaces = {surface for surface, _, _ in sweep.contents}
    assert {"file shown", "file tryage.log", "headers of Tryage"} <= surfaces
    assert [one for one in sweep.leaks() if "Tryage" in one.surface or "file" in one.surface] == []
