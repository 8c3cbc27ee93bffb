"""A pickle holds no key of any client at any depth, and makes the clients again without it."""

from __future__ import annotations

import pickle
from functools import partial
from io import BytesIO

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tryage.chat.pickles import dump_without_keys, load_state, partial_without_keys
from tryage.errors import InputError

KEY = "kwozqmtr"


class Client(BaseModel):
    """A client as the frameworks build them."""

    model_config = ConfigDict(populate_by_name=True)

    model: str = "m"
    api_key: SecretStr | None = Field(default=None, alias="key")
    base_url: str = "https://host/v1"
    headers: dict[str, str] = {}


class StrictClient(BaseModel):
    """A client whose fields are given by their aliases alone."""

    text: str = Field(alias="words")
    api_key: str = Field(default=KEY, alias="key")


class Holder:
    """A chat model as far as pickles know it."""

    def __init__(self, **values):
        self.values = values

    def __getstate__(self):
        return self.values

    def __setstate__(self, state):
        self.values = state

    def __reduce_ex__(self, _):
        return load_state, (type(self), *dump_without_keys(self.__getstate__()))

    class InnerClient(Client):
        """A client whose class is in another class."""


class ByValuePickler(pickle.Pickler):
    """Pickles lambdas by what they do, as cloudpickle does for the functions of a script."""

    def reducer_override(self, obj):
        is_lambda = getattr(obj, "__name__", None) == "<lambda>"
        return (eval, ("lambda text: text.upper()",)) if is_lambda else NotImplemented


def again(**values):
    data, code = dump_without_keys(Holder(**values).__getstate__())
    assert KEY.encode() not in data
    return load_state(Holder, data, code).values


@pytest.mark.parametrize(
    "client",
    [
        Client(api_key=KEY, model="gpt"),
        Client(headers={"Authorization": KEY, "X-Team": "a"}, model="gpt"),
        Client(base_url=f"https://me:{KEY}@host/v1", model="gpt"),
    ],
)
def test_a_client_is_made_again_without_its_key(client):
    loaded = again(models={"a": [client]})["models"]["a"][0]
    assert (loaded.model, loaded.api_key, loaded.base_url) == ("gpt", None, "https://host/v1")
    assert loaded.headers == ({"X-Team": "a"} if client.headers else {})


def test_a_key_that_came_from_the_environment_is_not_pickled_either():
    assert again(one=StrictClient(words="hi"))["one"].text == "hi"


def test_a_client_without_a_key_is_pickled_as_usual_and_stays_one_object():
    client = Client(model="gpt")
    loaded = again(first=client, second=[client])
    assert loaded["first"] == client
    assert loaded["second"][0] is loaded["first"]


def test_partials_lose_their_keys_at_any_depth():
    inner = partial(Client, api_key=KEY, headers=[("Authorization", KEY), ("X-Team", "a")])
    loaded = again(make={"deep": partial(map, inner)})["make"]["deep"].args[0]
    assert loaded.keywords == {"headers": [("X-Team", "a")]}


def test_a_key_among_positional_arguments_is_refused():
    with pytest.raises(InputError, match="Give it by its name"):
        partial_without_keys(partial(Client, "sk-abcdefgh"))


def test_a_secret_that_stands_alone_becomes_none():
    assert again(judge=SecretStr(KEY)) == {"judge": None}


def test_what_cannot_be_pickled_raises_its_own_error():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Holder(make=lambda: None))


def test_functions_are_pickled_by_what_pickles_the_whole_such_as_cloudpickle():
    file = BytesIO()
    ByValuePickler(file).dump(Holder(make=[lambda text: text.upper()], client=Client(api_key=KEY)))
    assert KEY.encode() not in file.getvalue()
    loaded = pickle.loads(file.getvalue()).values  # noqa: S301 - what the line above has written
    assert loaded["make"][0]("a") == "A"
    assert loaded["client"] == Client()


def test_a_client_of_a_class_within_a_class_or_a_function_loses_its_key_too():
    class LocalClient(Client):
        """A client whose class no other process has."""

    for cls in (Holder.InnerClient, LocalClient):
        assert again(one=cls(headers={"Authorization": KEY}, model="gpt"))["one"].headers == {}


class Memory(BaseModel):
    """A part of a chain whose settings have names like those of credentials."""

    api_key: str = ""
    memory_key: str = "history"
    input_messages_key: str = "input"


def test_a_key_of_a_dict_is_no_credential_and_stays():
    loaded = again(one=Memory(api_key=KEY, memory_key="past", input_messages_key="question"))
    assert loaded["one"] == Memory(memory_key="past", input_messages_key="question")
