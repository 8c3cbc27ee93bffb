"""The tables of settings have the words of what they set."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from tryage import Router
from tryage.config.schema import ChatTable, Config, Effort, ModelTable, RouterTable, ServerTable
from tryage.core.expert import FIELDS


def test_a_model_may_have_every_fact_of_an_expert():
    assert set(FIELDS) <= set(ModelTable.model_fields)


def test_the_efforts_are_those_of_the_chat_models():
    from tryage.chat.efforts import EFFORTS

    assert get_args(Effort) == EFFORTS


def test_the_router_has_words_of_its_class():
    words = set(RouterTable.model_fields) - {"path"}
    assert words <= set(inspect.signature(Router).parameters)


def test_chat_has_words_of_the_chat_models():
    pytest.importorskip("langchain_core")
    from tryage.chat.settings import RoutingFields

    assert set(ChatTable.model_fields) <= set(RoutingFields.model_fields)


def test_the_server_has_the_words_and_defaults_of_its_settings():
    pytest.importorskip("fastapi")
    pytest.importorskip("langchain_core")
    from tryage_server.settings import ServerSettings

    defaults = {one.name: one.default for one in ServerSettings.__dataclass_fields__.values()}
    for name, field in ServerTable.model_fields.items():
        assert name in ("host", "port") or field.default == defaults[name]


def test_every_key_is_described_for_editors():
    for name, field in Config.model_fields.items():
        assert field.description, name
    for name, field in ModelTable.model_fields.items():
        assert field.description, name
