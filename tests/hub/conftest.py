"""Records as the Hub sends them, read into models, and catalogues of them compared."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub import endpoints as calls
from tryage.hub.catalog import Catalogue
from tryage.hub.client import HubClient
from tryage.hub.parse import parse_model
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub

BOARD = "data/board"
SEEN = datetime.datetime(2026, 10, 3, 12, 30, tzinfo=datetime.timezone.utc)


@pytest.fixture
def seen():
    """When the records of these tests were fetched."""
    return SEEN


@pytest.fixture
def read():
    """Read a record of these fields; `id` and `_id` are made up where they are not given."""

    def reader(name="acme/model", **fields):
        return parse_model({"_id": f"key of {name}", "id": name, **fields}, SEEN)

    return reader


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


def _timeless(value):
    """Leave out when something was seen."""
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name != "seen"}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def content():
    """Return all that a catalogue says, without when it was seen or in which row it is."""

    def read(catalogue):
        keys = [row[0] for row in catalogue.connection().execute("SELECT key FROM models")]
        told = {key: _timeless(catalogue.get(key).to_dict()) for key in keys}
        tags = "SELECT m.key, t.tag FROM tagged x JOIN models m ON m.id = x.model"
        tags += " JOIN tags t ON t.id = x.tag"
        names = "SELECT name FROM state UNION ALL SELECT kind || key FROM arrivals"
        return {
            "told": told,
            "gone": {key for key in keys if catalogue.deleted_at(key)},
            "listed": [entry._replace(seen=0.0) for entry in catalogue.search()],
            "tags": sorted(catalogue.connection().execute(tags).fetchall()),
            "watermark": catalogue.get_state("watermark"),
            "left over": [row for row in catalogue.connection().execute(names) if ":" in row[0]],
        }

    return read


def _row(number, **fields):
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


@pytest.fixture
def pages_of_four(monkeypatch):
    monkeypatch.setattr(calls, "MAX_PAGE_SIZE", 4)


@pytest.fixture
def world():
    """A Hub of fourteen models, some made from others, two of them served."""
    with LocalHub() as hub:
        hub.load(_row(number) for number in range(12))
        base = {"tags": ["base_model:quantized:org/m3", "license:mit"], "safetensors": None}
        hub.load([_row(12, **base), _row(13, tags=["base_model:adapter:org/m12"])])
        hub.served.extend([_offer("org/m1", 0.1), _offer("org/m2", 0.2)])
        hub.leaderboards[BOARD] = [
            _ranked("org/m1", 61.5),
            _ranked("org/m3", 70),
            _ranked("a/b", 9),
        ]
        yield hub


def _ranked(name, value):
    return {"modelId": name, "value": value, "verified": True, "source": {"url": "https://x.test"}}


def _offer(name, price):
    provider = {"provider": "one", "status": "live", "context_length": 8_192}
    pricing = {"input": price, "output": 2 * price}
    return {"id": name, "providers": [{**provider, "pricing": pricing}]}


@pytest.fixture
def move_on():
    """Let everything happen to the world that can: it is another one afterwards."""

    def change(hub):
        day = "2025-03-01T00:00:00.000Z"
        hub.update("org/m3", tags=["license:llama2"], lastModified=day, sha="3" * 40)
        hub.load([_row(20, downloads=5, lastModified=day)])
        hub.rename("org/m4", "new/m4")
        hub.remove("org/m5")
        hub.update("org/m6", gated="manual", downloads=7_000)
        hub.update("org/m7", downloads=1)
        hub.update("org/m2", tags=["license:mit", "base_model:quantized:org/m20"])
        hub.served[:] = [_offer("org/m2", 0.3), _offer("org/m8", 0.4)]
        hub.leaderboards[BOARD][:] = [_ranked("org/m1", 62), _ranked("new/m4", 50)]

    return change
