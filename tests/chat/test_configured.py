"""A router of a file of settings is the router that the same words make in code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("pydantic")

from tryage import Expert, Preferences, Router
from tryage.chat.configured import configure
from tryage.config.load import load_config
from tryage.errors import ConfigError, InputError, LibraryError
from tryage.policies import Budget, QualityGap

PROMPT = "Prove that there are infinitely many primes."

POOL = """
[[models]]
name = "gpt-5.4"
[[models]]
model = "openai:gpt-5.4-nano"
efforts = ["low", "high"]
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="tryage.toml"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write_file


@pytest.fixture
def configured(write):
    """Configure from a text, after another one if there was one."""

    def configure_text(text, earlier=None):
        return configure(load_config(write(text)), earlier)

    return configure_text


def problem(write, text):
    with pytest.raises(ConfigError) as caught:
        Router.from_config(write(text))
    (found,) = caught.value.problems
    return found


NAMES = ("gpt-5.4", "openai:gpt-5.4-nano@low", "openai:gpt-5.4-nano@high")


def test_the_models_are_the_pool_each_with_its_efforts(write):
    router = Router.from_config(write(POOL))
    assert router.library.names == NAMES
    assert router.library["openai:gpt-5.4-nano@low"].input_price is not None  # from public tables


@pytest.mark.parametrize("value", [0.001, 100.0])
def test_it_decides_as_a_router_of_the_same_models_in_code(write, value):
    router = Router.from_config(write(f"{POOL}\n[preferences]\nanswer_value = {value}\n"))
    same = Router.from_models(NAMES, preferences=Preferences(answer_value=value))
    decisions = [one.route(PROMPT) for one in (router, same)]
    assert decisions[0].expert.name == decisions[1].expert.name
    totals = [{row.name: row.total for row in one.ranking} for one in decisions]
    assert totals[0] == pytest.approx(totals[1])


def test_facts_of_the_file_come_before_those_of_public_tables(write):
    router = Router.from_config(write('[[models]]\nname = "gpt-5.4"\ninput_price = 77\n'))
    assert router.library["gpt-5.4"].input_price == 77.0


def test_all_tables_reach_the_router(write):
    router = Router.from_config(
        write(
            POOL
            + """
[preferences]
preset = "thrifty"
max_cost = 0.5
[router]
default = "gpt-5.4"
default_exempt = true
strict = true
prompt_flags = true
min_typicality = 0.01
[[rules]]
ban = "gpt-5.4"
tag = "night"
[[policies]]
kind = "QualityGap"
gap = 0.05
[[policies]]
kind = "Budget"
usd_per_day = 5
[exploration]
budget = 0.1
"""
        )
    )
    assert router.preferences == Preferences.preset("thrifty", max_cost=0.5)
    assert (router.default, router.default_exempt, router.strict) == ("gpt-5.4", True, True)
    assert router.prompt_flags
    assert router.min_typicality == 0.01
    assert [one.name for one in router.policy.policies()] == ["Rules", "QualityGap", "Budget"]
    assert router.exploration.budget == 0.1


def test_without_models_the_experts_are_those_of_the_router(write):
    router = Router.from_config(write('[preferences]\npreset = "best"\n'))
    assert router.library.names == Router.from_pretrained().library.names
    assert router.preferences == Preferences.preset("best")


def test_a_saved_router_is_found_beside_the_file(write, tmp_path):
    Router.from_pretrained().subset(["gpt-5.4"]).save_pretrained(tmp_path / "saved")
    router = Router.from_config(write('[router]\npath = "saved"\n'))
    assert router.library.names == ("gpt-5.4",)


def test_the_log_is_relative_to_the_file_and_shared_within_the_process(write, tmp_path):
    pytest.importorskip("sqlalchemy")
    path = write('[traffic]\nurl = "sqlite:///log.db"\nflush_interval = 0.5\n')
    first, second = Router.from_config(path), Router.from_config(path)
    assert (tmp_path / "log.db").exists()
    assert first.traffic is second.traffic


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        (f'{POOL}[router]\ndefault = "gpt"\n', 8, "router.default", "gpt"),
        ('[router]\ndefault = "gpt-5.44"\n', 2, "router.default", "gpt-5.44"),
        (f"{POOL}[router]\nmin_typicality = 0.1\n", 8, "router.min_typicality", "default"),
        ('[router]\npath = "./nothing"\n', 2, "router.path", "nothing"),
        (
            f'{POOL}[[policies]]\nkind = "Budget"\nusd_per_day = 1\nhard = true\n'
            'fallback = "no-such"\n',
            7,
            "policies[0]",
            "no-such",
        ),
        (
            f'{POOL}[[policies]]\nkind = "Budget"\nusd_per_day = 1\n[[policies]]\n'
            'kind = "QualityGap"\n',
            7,
            "policies",
            "order",
        ),
        ('[[models]]\nname = "a"\nabout_as_good_as = "b"\n', 1, "models", "no known model"),
        (f'{POOL}[[rules]]\nban = "nobody"\n', 7, "rules[0]", "nobody"),
    ],
)
def test_what_does_not_fit_the_models_is_told_with_its_line(write, text, line, key, message):
    found = problem(write, text)
    assert (found.line, found.key) == (line, key)
    assert message in found.message


def test_a_guarantee_is_calibrated_with_the_table_that_it_names(write):
    text = f'{POOL}[[policies]]\nkind = "Guarantee"\nreference = "gpt-5.4"\n'
    assert Router.from_config(write(text)).policy.reference == "gpt-5.4"
    found = problem(write, f'{text}table = "no.csv"\n')
    assert found.key == "policies[0]"
    assert "no.csv" in found.message


# What stays after a change


def budget(limit, **others):
    words = "".join(f"{name} = {value!r}\n" for name, value in others.items())
    return f'{POOL}[[policies]]\nkind = "Budget"\nusd_per_day = {limit}\n{words}'


def spend(configured):
    router = configured.router
    decision = router.route(PROMPT)
    router.settle(decision.id, decision.expert.name, cost=1.5)


def spent(configured):
    return configured.router.policy.status().spent


def test_what_a_budget_has_spent_stays_when_its_limit_changes(configured):
    first = configured(budget(5))
    spend(first)
    second = configured(budget(9), first)
    assert spent(second) == spent(first) == 1.5
    assert second.router.policy.limit == 9
    spend(first)  # a call that has begun before the change
    assert spent(second) == 3.0


def test_a_policy_whose_table_is_the_same_stays_the_same(configured):
    text = (
        f'{POOL}[[policies]]\nkind = "Threshold"\nstrong = "gpt-5.4"\nshare = 0.5\n'
        f'weak = "{NAMES[1]}"\n'
    )
    first = configured(text)
    second = configured(f"{text}[preferences]\nanswer_value = 3\n", first)
    assert second.policies[0] is first.policies[0]


def test_a_budget_of_others_starts_anew(configured):
    first = configured(budget(5))
    spend(first)
    assert spent(configured(budget(5, by="user"), first)) == 0.0
    assert spent(configured(budget(5, label="other"), first)) == 0.0


def test_what_exploration_has_spent_stays_while_it_is_the_same(configured):
    text = f"{POOL}[exploration]\nbudget = 0.1\n"
    first = configured(text)
    second = configured(f"{text}[preferences]\nanswer_value = 3\n", first)
    third = configured(text.replace("0.1", "0.2"), second)
    assert second.router._explorer is first.router._explorer
    assert third.router._explorer is not first.router._explorer


def test_a_router_with_its_own_settings_is_loaded_once(configured):
    first = configured(f"{POOL}[router]\nprompt_flags = true\n")
    second = configured(
        f"{POOL}[router]\nprompt_flags = true\n[preferences]\nmax_cost = 1\n", first
    )
    assert second.parts.base is first.parts.base


# Names in code


def test_models_by_name_need_no_client():
    router = Router.from_models(
        ["gpt-5.4", "claude-opus-4-8@high", "own"],
        experts=[Expert("own", about_as_good_as="gpt-5.4", input_price=1, output_price=2)],
        preferences="thrifty",
        default="own",
        policy=Budget(usd_per_day=5),
    )
    assert router.library.names == ("gpt-5.4", "claude-opus-4-8@high", "own")
    assert router.default == "own"
    assert router.preferences == Preferences.preset("thrifty")
    assert isinstance(router.policy, Budget)


@pytest.mark.parametrize("model", ["openai:gpt-5.4-nano", SimpleNamespace(model="gpt-5.4-nano")])
def test_a_model_under_a_name_of_your_own_is_the_known_one_behind_it(model):
    own = Router.from_models({"fast": model, "smart": "claude-opus-4-8@high"}).route(PROMPT)
    known = Router.from_models(["gpt-5.4-nano", "claude-opus-4-8@high"]).route(PROMPT)
    assert {row.name for row in own.ranking} == {"fast", "smart"}
    assert [row.total for row in own.ranking] == [row.total for row in known.ranking]


def test_an_expert_in_place_of_a_model_is_an_error_that_says_where_it_belongs():
    with pytest.raises(InputError, match=r"Give 'mine', and the facts in experts=\[...\]"):
        Router.from_models([Expert("mine")])


def test_a_default_that_is_none_of_the_models_is_an_error():
    with pytest.raises(LibraryError):
        Router.from_models(["gpt-5.4"], default="gpt-5.4-nano", policy=QualityGap())


def test_all_policies_that_do_not_fit_the_models_are_told_at_once(write):
    text = f"""{POOL}
[[rules]]
only = "nope"
[[policies]]
kind = "Threshold"
strong = "gpt-5.4"
weak = "none"
threshold = 0.1
[[policies]]
kind = "Threshold"
strong = "nobody"
weak = "gpt-5.4"
threshold = 0.1
"""
    with pytest.raises(ConfigError) as caught:
        Router.from_config(write(text))
    keys = [one.key for one in caught.value.problems]
    assert keys == ["rules[0]", "policies[0]", "policies[1]"]


def test_a_router_that_watches_no_file_closes_and_says_so_when_it_is_to_reload(write):
    router = Router.from_config(write(POOL))
    router.close()
    with pytest.raises(InputError, match=r"make it with Router.from_config\(watch=True\)"):
        router.reload()
