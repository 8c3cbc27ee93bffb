"""`load_library` through `Library.from_hub`: what is asked, when, and what the catalogue keeps."""

from __future__ import annotations

import datetime
import pickle
import sqlite3

import pytest

from tryage import Library, Router
from tryage.errors import HubAccessError, HubError, HubOfflineError, InputError, LibraryError
from tryage.hub import catalog_schema
from tryage.hub.catalog import Catalogue
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub
from tryage.testing.hub import ServerError, Unauthorized

CHAT = "text-generation"


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
def load(catalogue, settings):
    """Load a library from this catalogue and this Hub."""

    def read(task=CHAT, **query):
        return Library.from_hub(task, catalogue=catalogue, settings=settings, **query)

    return read


def test_an_empty_catalogue_is_filled_with_the_models_of_the_query(load):
    library = load(limit=5)
    assert library.names == tuple(f"org/model-{i}" for i in range(5))
    assert library["org/model-2"].parameters == 3e9
    assert library["org/model-2"].released == datetime.date(2025, 1, 3)


def test_with_enough_models_in_the_catalogue_the_hub_is_not_asked(load, hub):
    first = load(limit=5)
    count = len(hub.requests)
    assert load(limit=5).names == first.names
    assert load(limit=2).names == first.names[:2]
    assert len(hub.requests) == count


def test_models_that_another_query_fetched_are_enough(load, hub):
    load(limit=12)
    count = len(hub.requests)
    assert len(load(limit=4, license=["mit"])) == 4
    assert len(hub.requests) == count


def test_with_a_catalogue_of_the_whole_hub_the_hub_is_never_asked(load, catalogue, hub):
    load(limit=12)
    catalogue.set_state({"listing": {"at": 0.0, "most": None, "ended": True}})
    count = len(hub.requests)
    assert len(load(limit=90, license=["mit"])) == 4
    assert len(hub.requests) == count


def test_a_query_with_too_few_models_asks_the_hub_once_a_day(load, hub):
    load(limit=3, license=["mit"])
    assert len(load(limit=50, license=["mit"])) == 4
    count = len(hub.requests)
    assert len(load(limit=50, license=["mit"])) == 4
    assert len(load(limit=90, license=["mit"])) == 4
    assert len(hub.requests) == count


def test_models_of_each_of_several_licenses_are_fetched(load):
    library = load(limit=12, license=["mit", "apache-2.0"], filters=["en"])
    assert sorted(set(library.licenses)) == ["apache-2.0", "mit"]
    assert len(library) == 12


def test_more_pages_are_fetched_until_enough_models_fit(load, hub):
    hub.load([record(i % 28, id=f"org/tiny-{i}", downloads=10_000 + i) for i in range(250)])
    names = load(limit=3, search="model", min_parameters=11e9).names
    assert names == ("org/model-10", "org/model-11")


def test_without_a_limit_all_models_are_listed(load):
    assert len(load(limit=None)) == 12


def test_the_library_has_the_age_of_its_facts(load):
    before = datetime.datetime.now(datetime.timezone.utc)
    library = load(limit=2)
    assert before <= library.as_of <= datetime.datetime.now(datetime.timezone.utc)
    assert library.subset(["org/model-0"]).as_of == library.as_of
    assert Library(["a"]).as_of is None


def test_offline_with_an_empty_catalogue_the_error_says_what_to_run(catalogue, hub):
    offline = HubSettings(endpoint=hub.url, offline=True)
    with pytest.raises(HubOfflineError, match="tryage hub sync"):
        Library.from_hub(CHAT, catalogue=catalogue, settings=offline)
    assert hub.requests == []


def test_offline_the_catalogue_is_used_with_a_warning(load, catalogue, hub):
    load(limit=5)
    count = len(hub.requests)
    offline = HubSettings(endpoint=hub.url, offline=True)
    with pytest.warns(UserWarning, match="could not be asked"):
        library = Library.from_hub(
            CHAT, catalogue=catalogue, settings=offline, limit=500, license=["mit"]
        )
    assert len(library) == 4  # they were on the page that was fetched
    assert len(hub.requests) == count


def test_the_environment_gives_the_address_of_the_hub_and_offline(hub, catalogue, monkeypatch):
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
def test_a_hub_that_fails_is_a_warning_or_an_error_without_any_record(hub, load, fault, error):
    hub.fail(fault, times=None)
    with pytest.raises(error, match="tryage hub sync"):
        load()
    hub.clear_faults()
    load(limit=3)
    hub.fail(fault, times=None)
    with pytest.warns(UserWarning, match="could not be asked"):
        assert len(load(limit=300, license=["mit"])) == 4


def test_a_query_that_no_model_fits_is_an_error(load):
    with pytest.raises(LibraryError):
        load("no-such-task")


@pytest.mark.parametrize(
    "query", [{"licence": ["mit"]}, {"limit": 0}, {"sort": "beauty"}, {"tags": 3}]
)
def test_a_wrong_condition_is_refused_before_the_hub_is_asked(load, hub, query):
    with pytest.raises(InputError):
        load(**query)
    assert hub.requests == []


def test_the_origin_of_a_library_holds_no_token(catalogue, hub):
    settings = HubSettings(endpoint=hub.url, inference=hub.url, token=hub.token)
    library = Library.from_hub(CHAT, catalogue=catalogue, settings=settings, limit=2)
    back = pickle.loads(pickle.dumps(library))  # noqa: S301 - our own
    assert back.origin == library.origin
    assert hub.token.encode() not in pickle.dumps(library)


def test_a_home_that_cannot_be_written_is_a_warning_and_the_catalogue_is_used(
    hub, settings, tmp_path, monkeypatch
):
    path = tmp_path / "home" / "catalogue.sqlite"
    with Catalogue(path) as catalogue:
        router = Router.from_hub(CHAT, catalogue=catalogue, settings=settings, limit=5)
    forbid_writing(monkeypatch)
    with pytest.warns(UserWarning, match="The catalogue could not be updated"):
        refreshed = router.refresh(settings)
    assert refreshed.library.names == router.library.names
    hub.close()


def forbid_writing(monkeypatch):
    """Let SQLite open every file as on a read-only disk; root could write to a read-only folder."""
    opened = catalog_schema._open

    def open_read_only(path, mode):
        if mode == "rwc":
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return opened(path, mode)

    monkeypatch.setattr(catalog_schema, "_open", open_read_only)


def test_the_message_about_an_empty_catalogue_has_its_full_stops(catalogue, hub):
    offline = HubSettings(endpoint=hub.url, offline=True)
    with pytest.raises(HubOfflineError, match=r"was not asked\. Run `tryage hub sync`"):
        Library.from_hub(CHAT, catalogue=catalogue, settings=offline)


def test_a_query_that_was_asked_under_a_clock_that_was_ahead_is_asked_again(load, catalogue, hub):
    load(limit=300)
    key = next(
        name for (name,) in catalogue.connection().execute("SELECT name FROM state")
        if name.startswith("asked:")
    )  # fmt: skip
    state = catalogue.get_state(key)
    catalogue.set_state({key: {**state, "at": state["at"] + 365 * 86_400}})
    count = len(hub.requests)
    load(limit=300)
    assert len(hub.requests) > count
