"""Routers over models of the Hub: `Router.from_hub`, and `refresh` after the catalogue changed."""

from __future__ import annotations

import datetime
import threading

import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.errors import InputError
from tryage.hub.settings import HubSettings
from tryage.testing import FixedPerception, LearningPerception, LocalHub
from tryage.testing.hub import ServerError

CHAT = "text-generation"


class PerceptionWithPrior(FixedPerception):
    """Knows some experts and has a prior for all others."""

    def prior(self):
        return 0.5, 0.2


def record(number, task=CHAT, license_="apache-2.0", **metadata):
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
        running.load([record(i) for i in range(8)])
        running.load([record(i, license_="mit") for i in range(8, 12)])
        running.load([record(20, task="fill-mask")])
        yield running


@pytest.fixture
def settings(hub):
    return HubSettings(endpoint=hub.url, inference=hub.url, retries=0)


@pytest.fixture
def base():
    known = Library(
        [
            Expert("measured", aliases=["org/model-3"], output_price=2.0, output_tokens=70),
            Expert("other"),
        ]
    )
    perception = PerceptionWithPrior({"measured": 0.1, "other": 0.9})
    return Router(perception, known, preferences=Preferences({"size": 1e-3}), default="other")


@pytest.fixture
def router(catalogue, settings, base):
    return Router.from_hub(CHAT, catalogue=catalogue, settings=settings, base=base)


def test_measured_experts_keep_their_abilities_under_their_hub_names(router, base):
    assert router.route("hello").expert.name == "org/model-3"
    assert router.route("hello").chosen.predicted_loss == pytest.approx(0.1)
    others = [r.predicted_loss for r in router.route("hello").ranking[1:]]
    assert others == pytest.approx([0.5] * 11)
    assert router.preferences == base.preferences
    assert router.default is None


def test_facts_of_the_hub_come_first_and_those_of_the_base_router_complete_them(router):
    expert = router.library["measured"]
    assert (expert.name, expert.parameters) == ("org/model-3", 4e9)
    assert (expert.output_price, expert.output_tokens) == (2.0, 70)
    assert router.library["org/model-4"].output_price is None


def test_a_decision_has_the_age_of_the_facts(router):
    decision = router.route("hello")
    assert decision.as_of == router.library.as_of
    assert f"the Hub as of {decision.as_of:%Y-%m-%d}" in decision.explain()
    assert decision.to_dict()["as_of"] == decision.as_of.isoformat()


def test_routing_never_asks_the_hub(router, hub):
    hub.close()
    count = len(hub.requests)
    router.route_batch(["a", "b"])
    assert len(hub.requests) == count


def test_a_refreshed_router_has_new_models_and_the_old_router_stays_as_it_was(
    router, hub, settings
):
    hub.add(
        "org/new", {}, **{k: v for k, v in record(0).items() if k != "id"} | {"downloads": 9_999}
    )
    fresh = router.refresh(settings)
    assert fresh.library.names[0] == "org/new"
    assert "org/new" not in router.library
    assert fresh.library.as_of > router.library.as_of
    assert fresh.route("hello").expert.name == "org/model-3"
    assert fresh.library["measured"].output_tokens == 70
    assert fresh.preferences == router.preferences


def test_a_refresh_after_a_sync_reads_the_catalogue_alone(router, catalogue, hub, settings):
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    catalogue.set_state({"synced": later.timestamp()})
    count = len(hub.requests)
    assert router.refresh(settings).library.as_of == later
    assert len(hub.requests) == count


def test_a_refresh_that_cannot_ask_the_hub_uses_the_catalogue_with_a_warning(router, hub, settings):
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
def test_only_a_whole_library_of_the_hub_can_be_refreshed(router, change):
    with pytest.raises(InputError, match="from_hub"):
        change(router).refresh()
