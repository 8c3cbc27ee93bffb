"""The example of docs/configuration.md is a file that is valid, complete and decides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tryage import Router
from tryage.config.load import load_config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
(EXAMPLE,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
NAMES = {"openai:gpt-5.6@low", "openai:gpt-5.6@high", "anthropic:claude-haiku-4-5", "ours"}


def test_the_example_decides_and_keeps_confidential_prompts_at_home(write, monkeypatch, tmp_path):
    pytest.importorskip("sqlalchemy")
    from tryage.core.request import ConversationContext

    monkeypatch.setenv("MODEL_HOST", "127.0.0.1:9")
    monkeypatch.setenv("TRYAGE_DATABASE", f"sqlite:///{tmp_path / 'log.db'}")
    router = Router.from_config(write(EXAMPLE))
    assert set(router.library.names) == NAMES
    assert router.route("Prove that pi is irrational.").expert.name in NAMES
    context = ConversationContext(tags=("confidential",))
    assert router.route("Prove it.", context=context).expert.name == "ours"


def test_the_page_lists_every_table_and_every_word_of_the_small_ones():
    from tryage.config import schema

    text = PAGE.read_text("utf-8")
    for name in schema.Config.model_fields:
        assert re.search(rf"`(\[?\[{name}\]\]?|{name} =)", text), name
    for table in (schema.RouterTable, schema.ChatTable, schema.ServerTable):
        for word in table.model_fields:
            assert f"`{word}`" in text, word


def test_the_example_is_valid_in_a_project_file(write):
    tables = re.sub(r"^(\[+)", r"\1tool.tryage.", EXAMPLE, flags=re.MULTILINE)
    environment = {"MODEL_HOST": "a", "TRYAGE_DATABASE": "sqlite:///x.db"}
    path = write(tables, "pyproject.toml")
    assert len(load_config(path, environment=environment).config.models) == 3
