"""Which source each fact about a model comes from, and the routers over the models."""

from __future__ import annotations

import copy
import datetime
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.chat.candidates import (
    CandidatePool,
    ClientFacts,
    RouterCache,
    RouterSettings,
    candidate_experts,
)
from tryage.chat.model_names import bundled_library
from tryage.core.exploration import Exploration
from tryage.core.library import Provenance
from tryage.errors import InputError
from tryage.hub.catalog import Catalogue
from tryage.hub.parse import parse_model
from tryage.models.lookup import look_up
from tryage.testing import FixedPerception

SEEN = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
NOTHING = ClientFacts(None, {})
YI = "01-ai/Yi-1.5-9B-Chat"


def record(name, number=1, **more):
    return {
        "id": name, "_id": f"{number:024x}", "pipeline_tag": "text-generation", "downloads": 123,
        "tags": ["license:apache-2.0"], "createdAt": "2025-03-04T00:00:00.000Z",
        "safetensors": {"total": 9 * 10**9, "parameters": {"BF16": 9 * 10**9}}, **more,
    }  # fmt: skip


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
    return Catalogue()


@pytest.fixture
def filled_catalogue(catalogue):
    names = ("org/new-9b", YI, "llama3/8b")
    catalogue.put([parse_model(record(name, i), SEEN) for i, name in enumerate(names)])
    return catalogue


def candidate(name, facts=NOTHING, library=None, user_experts=()):
    (expert,) = candidate_experts({name: facts}, library, user_experts)
    return expert


@pytest.mark.usefixtures("catalogue")
def test_a_model_that_nobody_measured_has_the_facts_of_public_tables():
    expert = candidate("openai:gpt-5.4-mini")
    public = look_up("gpt-5.4-mini")
    assert expert.input_price == public.value("input_price")
    assert expert.released.isoformat() == public.value("released")
    assert expert.context_length == public.value("context_length")
    assert {"tools", "vision"} <= expert.capabilities
    assert expert.metadata["sources"]["input_price"] == public.facts["input_price"].source


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("name", ["gpt-5.6", "kimi-k2-thinking"])
def test_what_a_user_pays_and_a_server_holds_does_not_change_how_able_a_known_model_is(name):
    plain = Router.from_models([name])
    priced = Router.from_models([name], experts=[Expert(name, input_price=0.1, output_price=0.2)])
    pool = candidate_experts({name: ClientFacts(None, {"context_length": 8_000})}, None, ())
    served = Router(plain.perception.innermost(), Library(pool))
    losses = [one.route("Prove it.").chosen.predicted_loss for one in (plain, priced, served)]
    assert losses[0] == losses[1] == losses[2]
    assert priced.library[name].output_price == 0.2
    assert served.library[name].context_length == 8_000


@pytest.mark.usefixtures("catalogue")
def test_only_the_prices_of_a_measured_model_come_from_public_tables():
    expert, measured = candidate("gpt-4o-2024-08-06"), bundled_library()["gpt-4o-2024-08-06"]
    assert (expert.released, expert.context_length) == (measured.released, measured.context_length)
    assert expert.metadata["sources"]["output_price"] == "genai-prices"


def test_the_facts_of_a_users_own_router_win_over_public_tables():
    library = Library([Expert("gpt-4o", input_price=99.0)])
    expert = candidate("gpt-4o", library=library)
    assert expert.input_price == 99.0
    assert expert.output_price == look_up("gpt-4o").value("output_price")


@pytest.mark.usefixtures("catalogue")
def test_the_bundled_library_adds_the_facts_that_a_users_own_router_lacks():
    bundled = bundled_library()["gpt-3.5-turbo-0125"]
    expert = candidate("gpt-3.5-turbo-0125", library=Library([Expert("gpt-3.5-turbo-0125")]))
    assert expert.output_tokens == bundled.output_tokens
    assert expert.released == bundled.released
    assert expert.metadata["sources"]["released"] == bundled.metadata["sources"]["released"]


@pytest.mark.usefixtures("catalogue")
def test_a_users_own_router_finds_bundled_facts_by_the_aliases_of_its_expert():
    library = Library([Expert("mine", aliases=("gpt-4o-2024-08-06",), output_tokens=7)])
    expert = candidate("mine", library=library)
    assert (expert.name, expert.output_tokens) == ("mine", 7)
    assert expert.context_length == bundled_library()["gpt-4o-2024-08-06"].context_length


@pytest.mark.usefixtures("catalogue")
def test_a_model_on_this_machine_costs_nothing_unless_told_otherwise():
    local = ClientFacts("my-own", {}, base_url="http://127.0.0.1:8000/v1")
    assert candidate("mine", local).output_price == 0
    told = Expert("mine", input_price=1.0, output_price=2.0)
    assert candidate("mine", local, user_experts=[told]).output_price == 2
    remote = ClientFacts("my-own", {}, base_url="https://example.com/v1")
    assert candidate("mine", remote).output_price is None


def test_a_fact_of_the_user_wins_over_the_client_and_the_client_over_the_library(catalogue):
    user_expert = Expert("mine", input_price=9.0)
    client = ClientFacts("gpt-4o", {"context_length": 77, "capabilities": ["tools"]}, "its client")
    expert = candidate("mine", client, user_experts=[user_expert])
    assert expert.aliases == ("gpt-4o-2024-08-06",)
    assert (expert.input_price, expert.context_length) == (9.0, 77)
    assert expert.capabilities == {"tools", "structured_output"}
    assert expert.output_price == look_up("gpt-4o").value("output_price")
    sources, bundled = expert.metadata["sources"], bundled_library()["gpt-4o"].metadata["sources"]
    assert (sources["input_price"], sources["context_length"]) == ("given by you", "its client")
    assert sources["output_price"] == look_up("gpt-4o").facts["output_price"].source
    assert sources["released"] == bundled["released"]
    assert not catalogue.path.exists()


@pytest.mark.usefixtures("catalogue")
def test_a_fact_of_the_user_reaches_the_model_of_a_provider():
    price = Expert("gpt-4o", input_price=9.0)
    expert = candidate("openai:gpt-4o", ClientFacts("openai:gpt-4o", {}), user_experts=[price])
    assert (expert.name, expert.input_price) == ("openai:gpt-4o", 9.0)
    assert expert.metadata["sources"]["input_price"] == "given by you"
    with pytest.raises(InputError, match=r"'gpt-4' is none of the models 'openai:gpt-4o'\."):
        candidate("openai:gpt-4o", user_experts=[Expert("gpt-4")])


@pytest.mark.usefixtures("catalogue")
def test_an_alias_of_the_user_makes_a_deployment_a_known_model():
    expert = candidate("my-deployment", user_experts=[Expert("my-deployment", aliases=["gpt-4o"])])
    assert expert.aliases == ("gpt-4o-2024-08-06",)
    assert expert.input_price == bundled_library()["gpt-4o"].input_price


# What is not known is said once -------------------------------------------------------------------


@pytest.fixture
def warnings_of(catalogue, caplog):
    """Return the messages that are logged about models of these names."""
    assert not catalogue.path.exists()

    def warnings_of(*names, user_experts=()):
        caplog.clear()
        candidate_experts(dict.fromkeys(names, NOTHING), None, user_experts)
        assert all(record.levelname == "WARNING" for record in caplog.records)
        assert all(record.name.startswith("tryage.chat") for record in caplog.records)
        return [record.getMessage() for record in caplog.records]

    return warnings_of


def test_unknown_models_and_prices_are_one_warning_that_says_how_to_tell_them(warnings_of):
    (message,) = warnings_of("gpt-4o", "openai:gpt-5", "their-own", "my-own")
    assert message.startswith("Nothing is known of 'their-own', 'my-own': ")
    assert "The prices of 'their-own', 'my-own' are unknown" in message
    assert "The context of 'their-own', 'my-own' is unknown" in message
    assert (
        "Expert('my-own', about_as_good_as='claude-haiku-4-5', input_price=..., output_price=..., "
        "context_length=...)]. "
    ) in message
    assert "gpt-5'," not in message
    assert "Did you mean" not in message


def test_a_misspelt_model_is_unknown_with_the_names_that_may_be_meant(warnings_of):
    (message,) = warnings_of("gpt-4o", "openai:gtp-5-mini", "my-own", "claude-sonet-4-5@low")
    assert "Is 'openai:gtp-5-mini' misspelt? Did you mean gpt-5-mini, " in message
    assert "Is 'claude-sonet-4-5@low' misspelt? Did you mean claude-sonnet-4-5, " in message
    assert "Is 'my-own' misspelt" not in message


def test_models_of_this_month_cause_no_warning(warnings_of):
    names = ("openai:gpt-5.6", "anthropic:claude-opus-5-5", "google_genai:gemini-3.5-flash")
    assert warnings_of(*names, "groq:openai/gpt-oss-120b", "ollama:gemma3") == []


def test_what_the_user_has_told_is_not_warned_of(warnings_of):
    assert warnings_of("gpt-4o", "openai:gpt-4o-mini") == []
    priced = Expert("my-own", aliases=["gpt-4o"], input_price=1, output_price=2)
    assert warnings_of("my-own", user_experts=[priced]) == []
    (message,) = warnings_of("my-own", user_experts=[Expert("my-own", input_price=1)])
    assert "prices of 'my-own'" in message


def test_of_many_unknown_models_the_warning_names_a_few(warnings_of):
    (message,) = warnings_of(*[f"model {i}" for i in range(1_000)])
    assert "and 994 more" in message
    assert len(message) < 1_000


@pytest.mark.usefixtures("filled_catalogue")
@pytest.mark.parametrize(
    "name",
    ["org/new-9b", "ORG/New-9B", "together:org/new-9b", "openrouter/org/new-9b:free",
     "org/new-9b:together"],
)  # fmt: skip
def test_a_model_of_the_catalogue_is_recognised_by_its_id_with_a_provider_around_it(name):
    expert = candidate(name)
    assert (expert.parameters, expert.license, expert.downloads) == (9e9, "apache-2.0", 123)
    assert expert.released == datetime.date(2025, 3, 4)
    assert expert.metadata["sources"]["parameters"]["seen"] == SEEN.isoformat()
    assert "org/new-9b" in Library([expert])


@pytest.mark.usefixtures("filled_catalogue")
@pytest.mark.parametrize("name", ["llama3:8b", "new-9b", "org", "org/other-9b", "/", "", "a/b/c d"])
def test_a_name_that_is_not_an_id_means_no_model_of_the_hub(name):
    assert "hub" not in candidate("mine", ClientFacts(name, {})).metadata


@pytest.mark.usefixtures("filled_catalogue")
def test_the_catalogue_wins_over_the_bundled_library_which_completes_it():
    bundled = bundled_library()[YI]
    expert = candidate("mine", ClientFacts("Yi-1.5-9B-Chat", {}))
    assert expert.aliases == (YI,)
    assert (expert.parameters, expert.downloads) == (9e9, 123)
    assert bundled.parameters != 9e9
    assert expert.output_tokens == bundled.output_tokens
    assert expert.metadata["measured_as"] == bundled.metadata["measured_as"]


@pytest.mark.usefixtures("filled_catalogue")
def test_the_library_of_the_users_router_wins_over_the_catalogue():
    own = Library([Expert("org/new-9b", parameters=1e9)])
    expert = candidate("org/new-9b", library=own)
    assert (expert.parameters, expert.downloads) == (1e9, 123)
    assert "parameters" not in expert.metadata["sources"]


def test_an_earlier_name_on_the_hub_means_the_model_that_the_library_knows(catalogue):
    catalogue.put([parse_model(record("org/old-name"), SEEN)])
    catalogue.put([parse_model(record("org/new-9b"), SEEN + datetime.timedelta(days=1))])
    own = Library([Expert("org/new-9b", readability=50)])
    expert = candidate("org/old-name", library=own)
    assert (expert.readability, expert.aliases) == (50, ("org/new-9b",))


@pytest.mark.usefixtures("filled_catalogue")
def test_a_library_from_a_catalogue_is_not_looked_up_again():
    own = Library([Expert("org/new-9b")])
    own.origin = Provenance("elsewhere.sqlite", SEEN)
    assert candidate("org/new-9b", library=own).to_dict() == {"name": "org/new-9b"}


def test_a_missing_catalogue_is_not_created(catalogue):
    assert candidate("org/new-9b").to_dict() == {"name": "org/new-9b"}
    assert not catalogue.path.exists()


def test_an_unreadable_catalogue_causes_one_warning(catalogue):
    catalogue.path.write_bytes(b"not a catalogue but some text" * 99)
    with pytest.warns(UserWarning, match="No facts are taken from the catalogue") as warned:
        found = candidate_experts(dict.fromkeys(["org/new-9b", "org/other"], NOTHING), None, ())
    assert [expert.to_dict() for expert in found] == [{"name": "org/new-9b"}, {"name": "org/other"}]
    assert len(warned) == 1


def test_an_expert_that_calls_tools_has_structured_output_too():
    expert = candidate("mine", ClientFacts(None, {"capabilities": ["tools"]}))
    assert expert.capabilities == {"tools", "structured_output"}
    assert candidate("mine", ClientFacts(None, {"capabilities": []})).capabilities == frozenset()


def test_no_library_tells_who_reads_documents_so_they_are_assumed_until_a_source_tells():
    documents = {"pdf", "video", "files"}
    own = Library([Expert("mine", capabilities=["vision"]), Expert("reader", capabilities=["pdf"])])
    for expert in (candidate("gpt-4o"), candidate("mine", library=own)):
        assert expert.capabilities >= documents
        assert expert.metadata["assumed_capabilities"] == sorted(documents)
    assert candidate("reader", library=own).capabilities == {"pdf"}
    client = ClientFacts(None, {"capabilities": ["tools"]})
    assert not candidate("gpt-4o", client).capabilities & documents
    told = Expert("gpt-4o", capabilities=["tools", "pdf"])
    assert candidate("gpt-4o", user_experts=[told]).capabilities & documents == {"pdf"}


def test_a_model_that_sees_no_images_is_not_assumed_to_read_pdfs_and_videos(catalogue):
    tags = ["conversational", "function-calling"]
    catalogue.put([parse_model(record("org/new-9b", tags=tags), SEEN)])
    own = Library([Expert("mine", capabilities=["tools"])])
    blind = (candidate("org/new-9b"), candidate("gpt-3.5-turbo"), candidate("mine", library=own))
    for expert in blind:
        assert expert.capabilities & {"pdf", "video", "files"} == {"files"}
        assert expert.metadata["assumed_capabilities"] == ["files"]


# The pool of all models ---------------------------------------------------------------------------


@pytest.fixture
def pool():
    experts = [Expert("here", aliases=["a"]), Expert("there", aliases=["a"]), Expert("b")]
    return CandidatePool.from_experts(experts, None)


@pytest.fixture
def base():
    return Router(
        FixedPerception({"a": 0.2, "b": 0.3}),
        preferences=Preferences({"cost": 1.0}),
        default="b",
        strict=True,
    )


def test_one_model_at_two_providers_is_predicted_once(pool, base):
    assert (pool.library.names, pool.duplicates) == (("here", "there", "b"), {"there": "here"})
    ranking = pool.build_router(base, None, None).route("hello").ranking
    assert [(one.name, round(one.predicted_loss, 3)) for one in ranking] == [
        ("here", 0.2),
        ("there", 0.2),
        ("b", 0.3),
    ]


def test_a_router_over_the_pool_decides_as_its_base_does(pool, base):
    router = pool.build_router(base, Preferences({"size": 2.0}), None)
    assert dict(router.preferences.weights) == {"cost": 1.0, "size": 2.0}
    assert (router.default, router.strict) == ("b", True)
    assert pool.build_router(base, None, "here").default == "here"


def test_a_router_over_the_pool_leaves_untypical_prompts_to_the_default_as_its_base_does(
    pool, base
):
    careful = Router(base.perception, default="b", min_typicality=0.01)
    assert pool.build_router(careful, None, None).min_typicality == 0.01
    without_default = CandidatePool.from_experts([Expert("a")], None)
    assert without_default.build_router(careful, None, None).min_typicality is None


def test_a_default_that_is_not_in_the_pool_is_not_taken_over(base):
    pool = CandidatePool.from_experts([Expert("a")], None)
    assert pool.build_router(base, None, None).default is None


def test_the_pool_is_as_old_as_the_library_of_the_router():
    library = Library([Expert("b")])
    library.origin = Provenance("elsewhere.sqlite", SEEN)
    assert CandidatePool.from_experts([Expert("b")], library).library.origin == library.origin


def test_each_combination_of_settings_has_one_chat_router(pool, base):
    cache, settings = RouterCache(), RouterSettings(base)
    one = cache.get(pool, settings)
    assert cache.get(pool, replace(settings)) is one
    others = [
        cache.get(pool, replace(settings, preferences=Preferences({"size": 1.0}))),
        cache.get(pool, replace(settings, default="here")),
        cache.get(pool, replace(settings, default="here", default_exempt=True)),
        cache.get(pool, replace(settings, sticky="thread")),
    ]
    assert len({id(router) for router in (one, *others)}) == 5


def test_a_chat_router_counts_with_the_tokenizer_of_its_framework(pool, base):
    assert RouterCache().get(pool, RouterSettings(base), len).count is len


@pytest.mark.parametrize(
    ("default", "default_exempt", "base_exempt", "exempt"),
    [
        ("here", False, True, False),
        ("here", True, False, True),
        (None, False, True, True),
        (None, False, False, False),
        (None, True, False, True),
    ],
)
def test_a_default_of_its_own_is_exempt_only_if_it_says_so(
    pool, base, default, default_exempt, base_exempt, exempt
):
    base = Router(base.perception, default="b", default_exempt=base_exempt)
    router = pool.build_router(base, None, default, default_exempt=default_exempt)
    assert router.default_exempt is exempt


def test_copies_and_pickles_of_a_router_cache_start_empty(pool, base):
    cache = RouterCache()
    one = cache.get(pool, RouterSettings(base))
    for clone in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):  # noqa: S301 - written here
        assert clone.get(pool, RouterSettings(base)) is not one


# Efforts and references -------------------------------------------------------------------------


@pytest.mark.usefixtures("catalogue")
def test_efforts_of_a_measured_model_are_like_it_and_differ_in_length():
    bundled = bundled_library()["gpt-4o"]
    plain, low, high = candidate_experts(
        {
            "gpt-4o": NOTHING,
            "gpt-4o@low": replace(NOTHING, effort="low"),
            "gpt-4o@high": replace(NOTHING, effort="high"),
        },
        None,
        (),
    )
    assert (plain.effort, plain.about_as_good_as, plain.aliases) == (None, None, (bundled.name,))
    assert (low.effort, low.about_as_good_as, low.aliases) == ("low", f"{bundled.name}@low", ())
    assert plain.output_tokens == bundled.output_tokens
    assert plain.output_tokens < low.output_tokens < high.output_tokens
    assert low.input_price == high.input_price == plain.input_price
    assert "effort" in low.metadata["sources"]["output_tokens"]


@pytest.mark.usefixtures("catalogue")
def test_an_effort_that_was_measured_is_that_expert():
    library = Library(
        [Expert("m", output_tokens=100.0), Expert("m@high", effort="high", output_tokens=900.0)]
    )
    names = {f"openai:m{end}": NOTHING for end in ("", "@low", "@high")}
    plain, low, high = candidate_experts(names, library, ())
    assert (plain.aliases, plain.effort) == (("m",), None)
    assert (low.aliases, low.about_as_good_as) == ((), "m@low")
    assert (high.aliases, high.about_as_good_as) == (("m@high",), None)
    assert high.output_tokens == 900.0


@pytest.mark.usefixtures("catalogue")
def test_a_library_may_tell_an_effort_by_the_name_alone():
    library = Library(["m", "m@high"])
    expert = candidate("openai:m@high", library=library)
    assert (expert.effort, expert.aliases, expert.about_as_good_as) == ("high", ("m@high",), None)


@pytest.mark.usefixtures("catalogue")
def test_a_model_that_reasons_is_expected_to_write_more():
    tokens = {
        name: candidate(name, replace(NOTHING, effort=effort)).output_tokens
        for name, effort in (("openai:gpt-5.6", None), ("openai:gpt-5.6@low", "low"))
    }
    assert tokens["openai:gpt-5.6"] > tokens["openai:gpt-5.6@low"] > 500
    assert candidate("my-own").output_tokens is None
    told = Expert("openai:gpt-5.6@low", output_tokens=7.0)
    assert candidate("openai:gpt-5.6@low", user_experts=[told]).output_tokens == 7


@pytest.mark.usefixtures("catalogue")
def test_the_users_word_on_the_quality_wins_over_a_known_name():
    told = Expert("gpt-4o", about_as_good_as="gpt-4o-mini")
    expert = candidate("openai:gpt-4o", user_experts=[told])
    assert (expert.about_as_good_as, expert.aliases) == ("gpt-4o-mini", ())
    assert expert.input_price == look_up("gpt-4o").value("input_price")


def test_a_model_whose_quality_is_told_is_not_warned_of(warnings_of):
    told = Expert("mine", about_as_good_as="gpt-4o", input_price=1, output_price=2)
    assert warnings_of("mine", user_experts=[told]) == []
    (message,) = warnings_of("mine", user_experts=[Expert("mine", about_as_good_as="gpt-4o")])
    assert "Nothing is known" not in message
    assert (
        "experts=[Expert('mine', input_price=..., output_price=..., context_length=...)]" in message
    )


def test_all_efforts_of_an_unknown_model_are_named_once(warnings_of):
    (message,) = warnings_of("mine@low", "mine@high")
    assert message.count("Expert('mine'") == 1
    assert "'mine@low'" not in message


def test_without_a_catalogue_its_modules_are_not_loaded(tmp_path):
    code = (
        "import sys\n"
        "from tryage.chat.candidates import LocalCatalog\n"
        "assert LocalCatalog().lookup(['org/name']) is None\n"
        "print('tryage.hub.catalog' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "TRYAGE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.strip() == "False"


def test_a_pool_with_a_log_learns_by_itself_and_not_for_its_base(tmp_path):
    base = Router.from_pretrained(preferences=Preferences(answer_value=1e9))
    pool = CandidatePool.from_experts([base.library[0], base.library[1]], base.library)
    logs = [f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two")]
    one, two = (pool.build_router(base, None, None, traffic=log) for log in logs)
    before = losses_of(base, pool)
    one.feedback(one.route("hello").id, 0.0, kind="test")
    assert losses_of(one, pool) != before
    assert losses_of(two, pool) == losses_of(base, pool) == before


def losses_of(router, pool):
    ranking = router.decide_batch(["hello"])[0].ranking
    return {name: ranking.entry(name).predicted_loss for name in pool.library.names}


def test_a_pool_has_the_log_and_the_exploration_of_its_base(tmp_path):
    exploration = Exploration(budget=0.5)
    base = Router.from_pretrained(traffic=f"sqlite:///{tmp_path}/log.db", exploration=exploration)
    pool = CandidatePool.from_experts([base.library[0], base.library[1]], base.library)
    router = pool.build_router(base, None, None)
    assert router.traffic is base.traffic
    assert router.exploration is exploration
    assert router.log.library is router.library
