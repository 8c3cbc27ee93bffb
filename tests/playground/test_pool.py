"""Names of today as models, and routers over them."""

import pytest

from tryage import Expert
from tryage.errors import InputError
from tryage_playground.pool import PoolKey


def test_names_of_today_and_their_other_spellings_are_known(pool):
    for name in ("gpt-5.4", "openai:gpt-5.4-mini", "claude-opus-5@high", "gemini-3.1-pro"):
        pool.check_name(name)
    assert pool.meaning("openai:gpt-5.4-mini") == "gpt-5.4-mini"
    assert pool.meaning("gpt-5.4-mini") is None


@pytest.mark.parametrize("name", ["gpt-5.44", "my-own", "<b>"])
def test_an_unknown_name_gets_a_hint(pool, name):
    with pytest.raises(InputError, match="Nothing is known of a model") as caught:
        pool.check_name(name)
    assert "library file" in str(caught.value)


def test_a_search_finds_names_that_begin_with_the_text_first(pool):
    found = pool.search("GPT-5.4")
    assert found[0].startswith("gpt-5.4")
    assert len(pool.search("a")) == 0  # one letter tells nothing
    assert len(pool.search("gpt", limit=5)) == 5


def test_a_router_is_made_once_for_a_pool(pool):
    key = PoolKey(("gpt-5.4", "claude-opus-4-8"))
    assert pool.router(key) is pool.router(PoolKey(("gpt-5.4", "claude-opus-4-8")))
    assert pool.router(key).library.names == ("gpt-5.4", "claude-opus-4-8")


def test_all_models_are_those_of_the_router_itself(pool):
    assert pool.router(PoolKey((), uses_all=True)) is pool.base


def test_what_a_library_says_counts_before_public_tables(pool):
    told = {"gpt-5.4": Expert("gpt-5.4", input_price=99.0)}
    router = pool.router(PoolKey(("gpt-5.4", "gpt-5.5"), library="told"), told)
    assert router.library["gpt-5.4"].input_price == 99.0


def test_without_a_model_there_is_no_router(pool):
    with pytest.raises(InputError, match="No model is chosen"):
        pool.router(PoolKey(()))
