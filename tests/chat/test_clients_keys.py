"""Clients of the same model, at the same address, with the same credential share a key."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
from pydantic import BaseModel, SecretStr

from tryage.chat import clients
from tryage.chat.clients import ClientIdentity, base_url_of, client_key


class Client(BaseModel):
    """A client as the frameworks build them."""

    model: str = "gpt-4o"
    base_url: str | None = "https://one.example/v1"
    api_key: SecretStr | None = SecretStr("sk-one")
    temperature: float = 0.0


class OtherClient(Client):
    pass


class Wrapper:
    """A client around another one, with arguments bound to it."""

    def __init__(self, bound, **kwargs):
        self.bound, self.kwargs = bound, kwargs


def test_two_clients_of_one_model_share_a_key():
    assert client_key(Client()) == client_key(Client(temperature=1.0))


@pytest.mark.parametrize(
    "other",
    [
        Client(model="gpt-4o-mini"),
        Client(base_url="https://two.example/v1"),
        Client(api_key=SecretStr("sk-two")),
        OtherClient(),
        Wrapper(Client(), model="gpt-4o-mini"),
    ],
)
def test_another_model_address_credential_or_class_has_another_key(other):
    assert client_key(other) != client_key(Client())


def test_a_wrapper_has_the_key_of_what_it_calls():
    assert client_key(Wrapper(Client())) == client_key(Wrapper(Client(), temperature=1.0))
    other = Client(api_key=SecretStr("sk-two"))
    assert client_key(Wrapper(Client())) != client_key(Wrapper(other))


def test_a_credential_in_a_header_counts():
    class HeaderClient:
        def __init__(self, token):
            self.model, self.default_headers = "m", {"Authorization": f"Bearer {token}"}

    assert client_key(HeaderClient("a")) == client_key(HeaderClient("a"))
    assert client_key(HeaderClient("a")) != client_key(HeaderClient("b"))


def test_a_key_shows_no_secret():
    assert b"sk-one" not in client_key(Client())
    assert "sk-one" not in repr(client_key(Client()))


def test_another_process_would_have_other_keys():
    key = client_key(Client())
    clients._salt.cache_clear()
    assert client_key(Client()) != key


def test_a_client_without_address_and_credential_is_known_as_itself():
    fake = Client(base_url=None, api_key=None)
    assert client_key(fake) == client_key(fake)
    assert hash(client_key(fake)) == hash(client_key(fake))
    assert client_key(fake) != client_key(Client(base_url=None, api_key=None))
    assert client_key(fake) != "another kind of key"


def test_the_key_of_a_client_that_is_gone_equals_no_later_key():
    class Thing:
        pass

    keys = []
    for _ in range(50):  # the same address is used again
        keys.append(ClientIdentity(Thing()))
        gc.collect(0)
    assert len(set(keys)) == len(keys)


def test_an_identity_does_not_keep_its_client_alive():
    ended = []

    class Thing:
        def __del__(self):
            ended.append(True)

    thing = Thing()
    key = ClientIdentity(thing)
    del thing
    gc.collect()
    assert ended
    assert key == key  # noqa: PLR0124 - a dead key still finds its own entry


def test_a_client_with_slots_has_an_identity_too():
    class Slotted:
        __slots__ = ()

    client = Slotted()
    assert ClientIdentity(client) == ClientIdentity(client)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"base_url": "http://localhost:11434"}, "http://localhost:11434"),
        ({"openai_api_base": "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1"),
        ({"openai_proxy": "http://localhost:3128"}, None),
        ({"proxy_url": "http://localhost:3128"}, None),
        ({"base_url": None}, None),
        ({}, None),
    ],
)
def test_the_address_of_a_client_is_found_and_its_proxy_is_not(attributes, expected):
    assert base_url_of(SimpleNamespace(**attributes)) == expected


def test_ollamas_own_client_calls_this_machine_by_default(monkeypatch):
    client = pytest.importorskip("langchain_ollama").ChatOllama(model="gemma3")
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert base_url_of(client) == "http://localhost:11434"
    monkeypatch.setenv("OLLAMA_HOST", "https://ollama.example.com")
    assert base_url_of(client) == "https://ollama.example.com"
