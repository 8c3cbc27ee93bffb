"""Whom facts about models are taken from, in which order, and that nobody is asked for them."""

from __future__ import annotations

import datetime

import pytest

from tryage import Expert, Library
from tryage.chat.candidates import ClientFacts, candidate_experts
from tryage.chat.model_names import bundled_library
from tryage.core.library import Provenance
from tryage.hub.catalog import Catalogue
from tryage.hub.parse import parse_model

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
def filled(catalogue):
    names = ("org/new-9b", YI, "llama3/8b")
    catalogue.put([parse_model(record(name, at), SEEN) for at, name in enumerate(names)])
    return catalogue


def known(name, told=NOTHING, library=None, said=()):
    (expert,) = candidate_experts({name: told}, library, said)
    return expert


def test_what_the_user_says_counts_more_than_the_client_and_that_more_than_the_library(catalogue):
    said = Expert("mine", input_price=9.0)
    client = ClientFacts("gpt-4o", {"context_length": 77, "capabilities": ["tools"]}, "its client")
    expert = known("mine", client, said=[said])
    assert expert.aliases == ("gpt-4o-2024-08-06",)
    assert (expert.input_price, expert.context_length) == (9.0, 77)
    assert expert.capabilities == {"tools", "structured_output"}
    assert expert.output_price == bundled_library()["gpt-4o"].output_price
    sources, theirs = expert.metadata["sources"], bundled_library()["gpt-4o"].metadata["sources"]
    assert (sources["input_price"], sources["context_length"]) == ("given by you", "its client")
    assert sources["output_price"] == theirs["output_price"]
    assert not catalogue.path.exists()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "name",
    ["org/new-9b", "ORG/New-9B", "together:org/new-9b", "openrouter/org/new-9b:free",
     "org/new-9b:together"],
)  # fmt: skip
def test_a_model_of_the_catalogue_is_recognised_by_its_id_with_a_provider_around_it(name):
    expert = known(name)
    assert (expert.parameters, expert.license, expert.downloads) == (9e9, "apache-2.0", 123)
    assert expert.released == datetime.date(2025, 3, 4)
    assert expert.metadata["sources"]["parameters"]["seen"] == SEEN.isoformat()
    assert "org/new-9b" in Library([expert])


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["llama3:8b", "new-9b", "org", "org/other-9b", "/", "", "a/b/c d"])
def test_a_name_that_is_no_id_means_nobody_of_the_hub(name):
    assert "hub" not in known("mine", ClientFacts(name, {})).metadata


@pytest.mark.usefixtures("filled")
def test_the_catalogue_counts_more_than_the_bundled_library_which_completes_it():
    bundled = bundled_library()[YI]
    expert = known("mine", ClientFacts("Yi-1.5-9B-Chat", {}))
    assert expert.aliases == (YI,)
    assert (expert.parameters, expert.downloads) == (9e9, 123)
    assert bundled.parameters != 9e9
    assert expert.output_tokens == bundled.output_tokens
    assert expert.metadata["measured_as"] == bundled.metadata["measured_as"]


@pytest.mark.usefixtures("filled")
def test_a_library_of_ones_own_counts_more_than_the_catalogue():
    own = Library([Expert("org/new-9b", parameters=1e9)])
    expert = known("org/new-9b", library=own)
    assert (expert.parameters, expert.downloads) == (1e9, 123)
    assert "parameters" not in expert.metadata["sources"]


def test_a_name_that_the_hub_has_given_up_means_the_model_that_the_library_knows(catalogue):
    catalogue.put([parse_model(record("org/old-name"), SEEN)])
    catalogue.put([parse_model(record("org/new-9b"), SEEN + datetime.timedelta(days=1))])
    own = Library([Expert("org/new-9b", readability=50)])
    expert = known("org/old-name", library=own)
    assert (expert.readability, expert.aliases) == (50, ("org/new-9b",))


@pytest.mark.usefixtures("filled")
def test_a_library_that_comes_from_a_catalogue_is_not_looked_up_again():
    own = Library([Expert("org/new-9b")])
    own.origin = Provenance("elsewhere.sqlite", SEEN)
    assert known("org/new-9b", library=own).to_dict() == {"name": "org/new-9b"}


def test_without_a_catalogue_none_is_made(catalogue):
    assert known("org/new-9b").to_dict() == {"name": "org/new-9b"}
    assert not catalogue.path.exists()


def test_a_catalogue_that_cannot_be_read_is_left_alone_with_one_warning(catalogue):
    catalogue.path.write_bytes(b"no catalogue at all, but some text" * 99)
    with pytest.warns(UserWarning, match="No facts are taken from the catalogue") as warned:
        found = candidate_experts(dict.fromkeys(["org/new-9b", "org/other"], NOTHING), None, ())
    assert [expert.to_dict() for expert in found] == [{"name": "org/new-9b"}, {"name": "org/other"}]
    assert len(warned) == 1
