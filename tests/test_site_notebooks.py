"""The notebooks of the documentation run offline, and print what they show."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def notebooks():
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / ".ci/docs/notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def test_a_notebook_runs_offline_and_prints_what_it_shows(path, notebooks, tmp_path):
    nbformat = pytest.importorskip("nbformat")

    for needed in ("langchain_core", "llama_index.core", "sklearn", "sqlalchemy"):
        pytest.importorskip(needed)
    shown = notebooks.printed(nbformat.read(path, as_version=4))
    printed = notebooks.printed(notebooks.run_notebook(path, tmp_path))
    # Another processor rounds what is trained otherwise.
    assert [_NUMBER.sub("#", text) for text in printed] == [
        _NUMBER.sub("#", text) for text in shown
    ]
    for text, same in zip(printed, shown, strict=True):
        numbers = [float(number) for number in _NUMBER.findall(text)]
        assert numbers == pytest.approx(
            [float(n) for n in _NUMBER.findall(same)], rel=0.1, abs=0.02
        )


def test_every_notebook_tells_its_story_from_a_title_on():
    nbformat = pytest.importorskip("nbformat")

    assert len(NOTEBOOKS) >= 3
    for path in NOTEBOOKS:
        first = nbformat.read(path, as_version=4).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.startswith("# ")
