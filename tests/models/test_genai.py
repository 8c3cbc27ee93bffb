"""genai-prices gives prices where it is installed, and is imported only then."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from tryage.models import genai
from tryage.models.genai import genai_prices
from tryage.models.names import parse_model_name


class Model:
    """A model with a price that rises with the length of the prompt, as in genai-prices."""

    def get_prices(self, _now):
        tiers = types.SimpleNamespace(base="1.25", tiers=[])
        return types.SimpleNamespace(input_mtok=tiers, output_mtok="10", cache_read_mtok=None)


class Snapshot:
    from_auto_update = False

    def find_provider_model(self, name, _provider, provider_id, _url):
        if (name, provider_id) != ("grok-5", "x-ai"):
            raise LookupError(name)
        return None, Model()


@pytest.fixture
def installed(monkeypatch):
    package, module = types.ModuleType("genai_prices"), types.ModuleType("data_snapshot")
    module.get_snapshot = Snapshot
    monkeypatch.setitem(sys.modules, "genai_prices", package)
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", module)
    monkeypatch.setattr(genai, "is_installed", lambda: True)


@pytest.mark.usefixtures("installed")
def test_the_price_of_short_prompts_is_taken_and_an_unknown_one_is_absent():
    facts = genai_prices("grok-5", parse_model_name("xai:grok-5"))
    assert {field: fact.value for field, fact in facts.items()} == {
        "input_price": 1.25,
        "output_price": 10.0,
    }


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["xai:grok-6", "a-model-of-nobody"])
def test_a_model_that_it_does_not_know_has_no_prices(name):
    assert genai_prices(name.partition(":")[2], parse_model_name(name)) == {}


def test_without_the_package_there_are_no_prices(monkeypatch):
    monkeypatch.setattr(genai, "is_installed", lambda: False)
    assert genai_prices("grok-5", parse_model_name("xai:grok-5")) == {}


def test_the_real_package_knows_todays_models():
    pytest.importorskip("genai_prices")
    facts = genai_prices("gpt-5.4-mini", parse_model_name("openai:gpt-5.4-mini"))
    assert facts["output_price"].value > facts["input_price"].value > 0


def test_importing_the_room_imports_neither_it_nor_httpx():
    code = (
        "import sys, tryage.models, tryage.models.lookup; "
        "print([name for name in ('genai_prices', 'httpx', 'pydantic') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.strip() == "[]"
