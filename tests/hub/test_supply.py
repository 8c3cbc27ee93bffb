"""Libraries and routers made of the Hub's models: what is asked, when, and what is kept."""

from __future__ import annotations

import datetime
import pickle
import threading

import numpy as np
import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.core.library import merge_missing_facts
from tryage.errors import HubAccessError, HubError, HubOfflineError, InputError, LibraryError
from tryage.hub.catalog import Catalogue
from tryage.hub.settings import HubSettings
from tryage.testing import FixedPerception, LearningPerception, LocalHub
from tryage.testing.hub import ServerError, Unauthorized

CHAT = "text-generation"


class Guessing(FixedPerception):
    """Knows some experts and guesses at all others."""

    def prior(self):
        return 0.5, 0.2


def model(number, task=CHAT, license_="apache-2.0", **metadata):
    created = f"2025-01-{number + 1:02d}T00:00:00.000Z"
    tags = [f"license:{license_}", "en"]
    size = (number + 1) * 10**9
    return {
        "id": f"org/model-{number}",
        "pipeline_tag": task,
        "downloads": 1_000 - number,
        "createdAt": created,
        "tags": tags,
        "cardData": {"license": license_},
        "safetensors": {"total": size, "parameters": {"BF16": size}},
        **metadata,
    }


@pytest.fixture
def hub():
    with LocalHub() as running:
        running.load([model(i) for i in range(8)])
        running.load([model(i, license_="mit") for i in range(8, 12)])
        running.load([model(20, task="fill-mask")])
        yield running


@pytest.fixture
def settings(hub):
    return HubSettings(endpoint=hub.url, inference=hub.url, retries=0)


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue(tmp_path / "catalogue.sqlite") as opened:
        yield opened


@pytest.fixture
def asked(catalogue, settings):
    """Ask for a library from this catalogue and this Hub."""

    def ask(task=CHAT, **query):
        return Library.from_hub(task, catalogue=catalogue, settings=settings, **query)

    return ask


@pytest.fixture
def base():
    known = Library(
        [
            Expert("measured", aliases=["org/model-3"], output_price=2.0, output_tokens=70),
            Expert("elsewhere"),
        ]
    )
    perception = Guessing({"measured": 0.1, "elsewhere": 0.9})
    return Router(perception, known, preferences=Preferences({"size": 1e-3}), default="elsewhere")


@pytest.fixture
def router(catalogue, settings, base):
    return Router.from_hub(CHAT, catalogue=catalogue, settings=settings, base=base)


def test_an_empty_catalogue_is_filled_with_what_the_query_finds(asked):
    library = asked(limit=5)
    assert library.names == tuple(f"org/model-{i}" for i in range(5))
    assert library["org/model-2"].parameters == 3e9
    assert library["org/model-2"].released == datetime.date(2025, 1, 3)


def test_what_the_catalogue_has_is_served_without_asking(asked, hub):
    first = asked(limit=5)
    count = len(hub.requests)
    assert asked(limit=5).names == first.names
    assert asked(limit=2).names == first.names[:2]
    assert len(hub.requests) == count


def test_what_another_query_has_brought_is_enough(asked, hub):
    asked(limit=12)
    count = len(hub.requests)
    assert len(asked(limit=4, license=["mit"])) == 4
    assert len(hub.requests) == count


def test_a_catalogue_of_the_whole_hub_is_never_lacking(asked, catalogue, hub):
    asked(limit=12)
    catalogue.set_state({"listing": {"at": 0.0, "most": None, "ended": True}})
    count = len(hub.requests)
    assert len(asked(limit=90, license=["mit"])) == 4
    assert len(hub.requests) == count


def test_a_query_that_finds_too_few_asks_once_and_not_every_time(asked, hub):
    asked(limit=3, license=["mit"])
    assert len(asked(limit=50, license=["mit"])) == 4
    count = len(hub.requests)
    assert len(asked(limit=50, license=["mit"])) == 4
    assert len(asked(limit=90, license=["mit"])) == 4
    assert len(hub.requests) == count


def test_each_of_several_licenses_is_looked_for(asked):
    library = asked(limit=12, license=["mit", "apache-2.0"], filters=["en"])
    assert sorted(set(library.licenses)) == ["apache-2.0", "mit"]
    assert len(library) == 12


def test_more_pages_are_fetched_until_enough_models_fit(asked, hub):
    hub.load([model(i % 28, id=f"org/tiny-{i}", downloads=10_000 + i) for i in range(250)])
    names = asked(limit=3, search="model", min_parameters=11e9).names
    assert names == ("org/model-10", "org/model-11")


def test_all_of_them_are_listed_without_a_limit(asked):
    assert len(asked(limit=None)) == 12


def test_the_library_says_how_old_its_facts_are(asked):
    before = datetime.datetime.now(datetime.timezone.utc)
    library = asked(limit=2)
    assert before <= library.as_of <= datetime.datetime.now(datetime.timezone.utc)
    assert library.subset(["org/model-0"]).as_of == library.as_of
    assert Library(["a"]).as_of is None


def test_offline_with_an_empty_catalogue_the_error_says_what_to_run(catalogue, hub):
    offline = HubSettings(endpoint=hub.url, offline=True)
    with pytest.raises(HubOfflineError, match="tryage hub sync"):
        Library.from_hub(CHAT, catalogue=catalogue, settings=offline)
    assert hub.requests == []


def test_offline_what_is_known_is_served_and_it_is_said(asked, catalogue, hub):
    asked(limit=5)
    count = len(hub.requests)
    offline = HubSettings(endpoint=hub.url, offline=True)
    with pytest.warns(UserWarning, match="could not be asked"):
        library = Library.from_hub(
            CHAT, catalogue=catalogue, settings=offline, limit=500, license=["mit"]
        )
    assert len(library) == 4  # they came with the page that was fetched
    assert len(hub.requests) == count


def test_the_environment_says_where_the_hub_is_and_whether_to_ask_it(hub, catalogue, monkeypatch):
    for name, value in hub.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRYAGE_HOME", str(catalogue.path.parent))
    assert len(Library.from_hub(CHAT, limit=4)) == 4
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.close()
    assert len(Library.from_hub(CHAT, limit=4)) == 4
    with pytest.raises(HubOfflineError):
        Library.from_hub("translation")


@pytest.mark.parametrize(
    ("fault", "error"), [(ServerError(504), HubError), (Unauthorized(), HubAccessError)]
)
def test_a_hub_that_fails_leaves_what_is_known_or_raises_its_error(hub, asked, fault, error):
    hub.fail(fault, times=None)
    with pytest.raises(error, match="tryage hub sync"):
        asked()
    hub.clear_faults()
    asked(limit=3)
    hub.fail(fault, times=None)
    with pytest.warns(UserWarning, match="could not be asked"):
        assert len(asked(limit=300, license=["mit"])) == 4


def test_a_query_that_nothing_fits_says_so(asked):
    with pytest.raises(LibraryError):
        asked("no-such-task")


@pytest.mark.parametrize(
    "query", [{"licence": ["mit"]}, {"limit": 0}, {"sort": "beauty"}, {"tags": 3}]
)
def test_a_wrong_condition_is_refused_before_anybody_is_asked(asked, hub, query):
    with pytest.raises(InputError):
        asked(**query)
    assert hub.requests == []


def test_measured_experts_keep_their_abilities_under_their_hub_names(router, base):
    assert router.route("hello").expert.name == "org/model-3"
    assert router.route("hello").chosen.predicted_loss == pytest.approx(0.1)
    others = [r.predicted_loss for r in router.route("hello").ranking[1:]]
    assert others == pytest.approx([0.5] * 11)
    assert router.preferences == base.preferences
    assert router.default is None


def test_facts_of_the_hub_come_first_and_are_completed_by_what_is_known_elsewhere(router):
    expert = router.library["measured"]
    assert (expert.name, expert.parameters) == ("org/model-3", 4e9)
    assert (expert.output_price, expert.output_tokens) == (2.0, 70)
    assert router.library["org/model-4"].output_price is None


def test_the_decision_says_how_old_the_facts_are(router):
    decision = router.route("hello")
    assert decision.as_of == router.library.as_of
    assert f"the Hub as of {decision.as_of:%Y-%m-%d}" in decision.explain()
    assert decision.to_dict()["as_of"] == decision.as_of.isoformat()


def test_routing_never_asks_the_hub(router, hub):
    hub.close()
    count = len(hub.requests)
    router.route_batch(["a", "b"])
    assert len(hub.requests) == count


def test_a_refreshed_router_knows_what_is_new_and_the_old_one_stays(router, hub, settings):
    hub.add(
        "org/new", {}, **{k: v for k, v in model(0).items() if k != "id"} | {"downloads": 9_999}
    )
    fresh = router.refresh(settings)
    assert fresh.library.names[0] == "org/new"
    assert "org/new" not in router.library
    assert fresh.library.as_of > router.library.as_of
    assert fresh.route("hello").expert.name == "org/model-3"
    assert fresh.library["measured"].output_tokens == 70
    assert fresh.preferences == router.preferences


def test_a_refresh_reads_what_a_sync_has_brought_without_asking(router, catalogue, hub, settings):
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    catalogue.set_state({"synced": later.timestamp()})
    count = len(hub.requests)
    assert router.refresh(settings).library.as_of == later
    assert len(hub.requests) == count


def test_a_refresh_that_cannot_ask_keeps_what_is_known(router, hub, settings):
    hub.fail(ServerError(500), times=None)
    with pytest.warns(UserWarning, match="could not be asked"):
        fresh = router.refresh(settings)
    assert fresh.library.names == router.library.names


def test_what_was_learned_survives_a_refresh(catalogue, settings):
    perception = LearningPerception({"org/model-0": 0.9, "mine": 0.4})
    base = Router(perception, ["org/model-0"])
    one = {"catalogue": catalogue, "settings": settings, "limit": 1, "base": base}
    router = Router.from_hub(CHAT, **one).onboard(Expert("mine", parameters=1e9), {"hello": 0.2})
    fresh = router.refresh(settings).refresh(settings)
    assert fresh.library.names == ("org/model-0", "mine")
    assert fresh.library["mine"].parameters == 1e9
    assert fresh.perception is router.perception


def test_threads_route_while_others_refresh(router, settings):
    failures = []

    def work(do):
        try:
            for _ in range(5):
                do()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails
            failures.append(error)

    tasks = [lambda: router.route("x"), lambda: router.refresh(settings)] * 3
    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "change", [lambda r: r.subset(["org/model-1"]), lambda r: Router(r.perception)]
)
def test_only_what_came_from_the_hub_as_a_whole_can_be_refreshed(router, change):
    with pytest.raises(InputError, match="from_hub"):
        change(router).refresh()


def test_no_token_is_kept_in_what_a_library_remembers(catalogue, hub):
    settings = HubSettings(endpoint=hub.url, inference=hub.url, token=hub.token)
    library = Library.from_hub(CHAT, catalogue=catalogue, settings=settings, limit=2)
    back = pickle.loads(pickle.dumps(library))  # noqa: S301 - our own
    assert back.origin == library.origin
    assert hub.token.encode() not in pickle.dumps(library)


def test_an_alias_that_means_somebody_else_is_left_out():
    library = Library([Expert("org/a"), Expert("org/b"), Expert("org/c")])
    other = Library([Expert("a", aliases=["org/a", "org/b", "x"]), Expert("c", aliases=["org/c"])])
    joined = merge_missing_facts(library, other)
    assert [joined.index(name) for name in ("a", "x", "org/b", "c")] == [0, 0, 1, 2]


def test_completing_leaves_the_rest_of_a_library_alone():
    library = Library.from_columns(["a", "b"], latency=[np.nan, 2.0], license=["mit", None])
    joined = merge_missing_facts(library, Library([Expert("b", latency=1.0, downloads=5)]))
    assert joined.to_dicts() == [
        {"name": "a", "license": "mit"},
        {"name": "b", "latency": 2.0, "downloads": 5.0},
    ]
    assert merge_missing_facts(library, Library(["z"])) is library
