"""Records of the Hub parsed into models, a local Hub that changes, and catalogues compared."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub import endpoints
from tryage.hub.catalog import Catalogue
from tryage.hub.client import HubClient
from tryage.hub.parse import parse_model
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub

BOARD = "data/board"
FETCHED_AT = datetime.datetime(2026, 10, 3, 12, 30, tzinfo=datetime.timezone.utc)


@pytest.fixture
def listed():
    """A record as a listing with `expand` has it."""
    return {
        "_id": "621ffdc036468d709f174338",
        "id": "acme/Foo-7B-Chat-GGUF",
        "author": "acme",
        "sha": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "gated": "auto",
        "private": False,
        "disabled": False,
        "downloads": 1234,
        "likes": 5,
        "tags": ["gguf", "conversational", "license:mit", "en", "base_model:quantized:acme/Foo-7B"],
        "pipeline_tag": "text-generation",
        "library_name": "gguf",
        "createdAt": "2025-06-01T08:00:00.000Z",
        "lastModified": "2026-09-30T00:00:00.000Z",
        "gguf": {"total": 7615616512, "architecture": "qwen2", "context_length": 32768},
        "baseModels": {"relation": "quantized", "models": [{"_id": "62", "id": "acme/Foo-7B"}]},
    }


@pytest.fixture
def fetched_at():
    """When the records of these tests were fetched."""
    return FETCHED_AT


@pytest.fixture
def parse():
    """Parse a record with these fields; `id` and `_id` have defaults."""

    def parser(name="acme/model", **fields):
        return parse_model({"_id": f"key of {name}", "id": name, **fields}, FETCHED_AT)

    return parser


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue(tmp_path / "catalogue.sqlite") as opened:
        yield opened


@pytest.fixture
def client():
    """Make a client of a local Hub that never waits; it is closed after the test."""
    opened = []

    def make(hub, **changed):
        at = {"endpoint": hub.url, "inference": hub.url, "retries": 2, **changed}
        opened.append(HubClient(HubSettings(**at), sleep=lambda _: None))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def content():
    """Return everything in a catalogue, without the times of fetching and the numbers of rows."""

    def read(catalogue):
        database = catalogue.connection()
        keys = [row[0] for row in database.execute("SELECT key FROM models")]
        tags = "SELECT m.key, t.tag FROM tagged x JOIN models m ON m.id = x.model"
        tags += " JOIN tags t ON t.id = x.tag"
        names = "SELECT name FROM state UNION ALL SELECT kind || key FROM arrivals"
        return {
            "models": {key: _without_times(catalogue.get(key).to_dict()) for key in keys},
            "deleted": {key for key in keys if catalogue.deleted_at(key)},
            "rows": [row._replace(seen=0.0) for row in catalogue.search()],
            "tags": sorted(database.execute(tags).fetchall()),
            "watermark": catalogue.get_state("watermark"),
            "staged": [row for row in database.execute(names) if ":" in row[0]],
        }

    return read


def _without_times(value):
    """Leave out when something was fetched."""
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name != "seen"}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


# A Hub to sync with


@pytest.fixture
def pages_of_four(monkeypatch):
    monkeypatch.setattr(endpoints, "MAX_PAGE_SIZE", 4)


@pytest.fixture
def hub():
    """A Hub of fourteen models, some made from others, two of them served."""
    with LocalHub() as running:
        running.load(_record(number) for number in range(12))
        base = {"tags": ["base_model:quantized:org/m3", "license:mit"], "safetensors": None}
        running.load([_record(12, **base), _record(13, tags=["base_model:adapter:org/m12"])])
        running.served.extend([_offer("org/m1", 0.1), _offer("org/m2", 0.2)])
        running.leaderboards[BOARD] = [
            _result("org/m1", 61.5),
            _result("org/m3", 70),
            _result("a/b", 9),
        ]
        yield running


@pytest.fixture
def change_hub():
    """Make every kind of change that a sync can meet."""

    def change(hub):
        day = "2025-03-01T00:00:00.000Z"
        hub.update("org/m3", tags=["license:llama2"], lastModified=day, sha="3" * 40)
        hub.load([_record(20, downloads=5, lastModified=day)])
        hub.rename("org/m4", "new/m4")
        hub.remove("org/m5")
        hub.update("org/m6", gated="manual", downloads=7_000)
        hub.update("org/m7", downloads=1)
        hub.update("org/m2", tags=["license:mit", "base_model:quantized:org/m20"])
        hub.served[:] = [_offer("org/m2", 0.3), _offer("org/m8", 0.4)]
        hub.leaderboards[BOARD][:] = [_result("org/m1", 62), _result("new/m4", 50)]

    return change


def _record(number, **fields):
    day = f"2025-01-{number + 1:02d}T00:00:00.000Z"
    return {
        "id": f"org/m{number}",
        "downloads": 1_000 - 10 * number,
        "tags": ["license:mit", "gguf"] if number % 3 else ["license:apache-2.0"],
        "pipeline_tag": "text-generation" if number % 2 else "fill-mask",
        "safetensors": {
            "total": (number + 1) * 10**9,
            "parameters": {"BF16": (number + 1) * 10**9},
        },
        "createdAt": day,
        "lastModified": day,
        "sha": f"{number:040d}",
        **fields,
    }


def _result(name, value):
    return {"modelId": name, "value": value, "verified": True, "source": {"url": "https://x.test"}}


def _offer(name, price):
    provider = {"provider": "one", "status": "live", "context_length": 8_192}
    pricing = {"input": price, "output": 2 * price}
    return {"id": name, "providers": [{**provider, "pricing": pricing}]}
