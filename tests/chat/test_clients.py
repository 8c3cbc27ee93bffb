"""Clients are made once, when they are needed; what holds a secret is neither shown nor pickled."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage.chat.clients import ClientPool, HubClientFactory, client_key, hub_models
from tryage.errors import InputError


class Client:
    """A client with a key."""

    def __init__(self, key="none"):
        self.key = key


class Clients(ClientPool[Client]):
    client_type = Client
    source_description = "a Client, or a function that makes one"


def test_a_client_is_made_by_the_first_call_and_only_once():
    made = []

    def make():
        time.sleep(0.01)
        made.append(Client())
        return made[-1]

    clients = Clients({"a": make})
    assert not clients.is_built("a")
    assert clients["a"] is make
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(clients.get_client, ["a"] * 8))
    assert found == made * 8
    assert clients.is_built("a")
    assert clients["a"] is made[0]


def test_a_function_that_makes_something_else_is_an_error_that_names_the_model():
    clients = Clients({"a": lambda: "no client"})
    message = "makes the model 'a' returned a str. Expected a Client, or a function that makes one"
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            clients.get_client("a")
    assert not clients.is_built("a")


def test_a_client_that_takes_long_to_make_holds_up_no_other():
    end = threading.Event()

    def slow():
        end.wait(10)
        return Client()

    clients = Clients({"slow": slow, "quick": lambda: Client("quick")})
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(clients.get_client, "slow")
        assert isinstance(pool.submit(clients.get_client, "quick").result(5), Client)
        assert not waiting.done()
        end.set()


def test_two_pools_over_one_client_know_it_by_the_same_key():
    client = Client("sk-one")
    first, second = Clients({"a": client}), Clients({"b": client, "c": Client("sk-two")})
    assert first.health_key("a") == first.health_key("a") == second.health_key("b")
    assert second.health_key("b") != second.health_key("c")


def test_before_a_client_is_made_its_key_belongs_to_its_pool():
    clients, others = Clients({"a": lambda: Client("sk")}), Clients({"a": lambda: Client("sk")})
    assert clients.health_key("a") == clients.health_key("a")
    assert clients.health_key("a") != others.health_key("a")
    clients.get_client("a")
    others.get_client("a")
    assert clients.health_key("a") == others.health_key("a")


def test_a_pool_is_a_mapping_in_the_given_order():
    ready = Client()
    clients = Clients({"b": ready, "a": lambda: Client("x")})
    assert list(clients) == ["b", "a"]
    assert len(clients) == 2
    assert clients["b"] is clients.get_client("b") is ready
    with pytest.raises(KeyError):
        clients["c"]


def test_a_deep_copy_shares_the_clients():
    clients = Clients({"a": Client()})
    assert copy.deepcopy({"clients": clients})["clients"] is clients


def test_a_repr_holds_names_only():
    assert repr(Clients({"a": Client("sk-secret"), "b": Client()})) == "Clients(a, b)"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "There are no models"),
        ({"a": 7}, r"The model 'a' is a int. Expected a Client, or a function that makes one\."),
        ({"a": Client}, "The model 'a' is a type"),
    ],
)
def test_a_wrong_source_is_refused(sources, message):
    with pytest.raises(InputError, match=message):
        Clients(sources)


def build_with(name, **settings):
    return name, settings


def test_hub_models_are_built_from_their_id_and_settings():
    models = hub_models(["org/a", "org/b"], build_with, {"token": "hf_secret", "timeout": 3})
    assert list(models) == ["org/a", "org/b"]
    assert models["org/b"]() == ("org/b", {"token": "hf_secret", "timeout": 3})


def test_a_factory_neither_shows_nor_pickles_its_token():
    factory = HubClientFactory(dict, "org/a", {"token": "hf_secret", "timeout": 3})
    assert "secret" not in repr(factory)
    written = pickle.dumps(factory)
    assert b"secret" not in written
    again = pickle.loads(written)  # noqa: S301 - written just above
    assert (again.build, again.name, again.settings) == (dict, "org/a", {"timeout": 3})


def test_the_key_of_a_client_is_found_while_another_thread_uses_it_for_the_first_time():
    """Clients of LangChain keep what they compute at their first call."""

    class Key:
        def __init__(self, client):
            self.client = client

        def get_secret_value(self):
            self.client.computed = "at the first call"
            return "a secret"

    class Client:
        def __init__(self):
            self.api_key = Key(self)
            self.base_url = "http://127.0.0.1"

    assert client_key(Client()) == client_key(Client())
