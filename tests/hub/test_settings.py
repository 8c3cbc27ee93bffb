"""`HubSettings`: given, or read from the environment at that moment."""

from __future__ import annotations

import huggingface_hub
import pytest

from tryage.errors import HubAccessError, InputError
from tryage.hub.settings import DEFAULT_ENDPOINT, DEFAULT_INFERENCE_ENDPOINT, HubSettings

TOKEN = "hf_" + "s3cret" * 5
NAMES = (
    "HF_ENDPOINT",
    "HF_INFERENCE_ENDPOINT",
    "TRYAGE_HUB_INFERENCE",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)


@pytest.fixture
def environment(monkeypatch):
    """Set variables from a clean state, without a login."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
    return monkeypatch.setenv


@pytest.mark.usefixtures("environment")
def test_without_variables_the_settings_are_the_default_ones():
    assert HubSettings.from_environment() == HubSettings()
    assert (HubSettings().endpoint, HubSettings().inference) == (
        DEFAULT_ENDPOINT,
        DEFAULT_INFERENCE_ENDPOINT,
    )


def test_variables_are_read_at_each_call(environment):
    environment("HF_ENDPOINT", "http://127.0.0.1:8080/hub/")
    environment("HF_TOKEN", f" {TOKEN}\n")
    first = HubSettings.from_environment()
    assert (first.endpoint, first.token) == ("http://127.0.0.1:8080/hub", TOKEN)
    environment("HF_ENDPOINT", "https://other.test")
    assert HubSettings.from_environment().endpoint == "https://other.test"


def test_the_inference_router_has_a_variable_of_its_own(environment):
    environment("HF_ENDPOINT", "https://mirror.test")
    environment("HF_INFERENCE_ENDPOINT", "https://older.test")  # another service
    assert HubSettings.from_environment().inference == DEFAULT_INFERENCE_ENDPOINT
    environment("TRYAGE_HUB_INFERENCE", "https://router.test/")
    assert HubSettings.from_environment().inference == "https://router.test"
    environment("TRYAGE_HUB_INFERENCE", "")
    assert HubSettings.from_environment().inference == DEFAULT_INFERENCE_ENDPOINT


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize(("value", "offline"), [("1", True), ("yes", True), ("0", False)])
def test_offline_is_read_as_huggingface_hub_reads_it(environment, name, value, offline):
    environment(name, value)
    assert HubSettings.from_environment().offline is offline


def test_offline_no_token_is_read(environment, monkeypatch):
    environment("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: pytest.fail("may ask the network"))
    assert HubSettings.from_environment().token is None


def test_a_disabled_implicit_token_is_not_used(environment):
    environment("HF_TOKEN", TOKEN)
    environment("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert HubSettings.from_environment().token is None


@pytest.mark.usefixtures("environment")
def test_a_login_that_fails_is_an_access_error_without_secrets(monkeypatch):
    def fail():
        raise ValueError(f"exchange failed for {TOKEN}")

    monkeypatch.setattr(huggingface_hub, "get_token", fail)
    with pytest.raises(HubAccessError, match="hf auth login") as raised:
        HubSettings.from_environment()
    assert TOKEN not in str(raised.value)
    assert raised.value.__suppress_context__


def test_the_token_is_in_no_repr():
    assert TOKEN not in repr(HubSettings(token=TOKEN))


@pytest.mark.parametrize(
    "address",
    ["", "hub", "ftp://hub.test", "http://", "http://hub.test:port", "https://hub.test?a=1", 7],
)
def test_an_invalid_address_is_refused(address):
    for name in ("endpoint", "inference"):
        with pytest.raises(InputError, match=f"{name} must be an address"):
            HubSettings(**{name: address})


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(InputError, match="user or a password") as raised:
        HubSettings(endpoint=f"https://me:{TOKEN}@hub.test")
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("token", [f"{TOKEN}\nX-Evil: 1", f"{TOKEN} x", f"{TOKEN}é", 7, b"hf_x"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(token):
    with pytest.raises(InputError, match="token") as raised:
        HubSettings(token=token)
    assert TOKEN not in str(raised.value)


def test_an_empty_token_becomes_none():
    assert HubSettings(token=" \n").token is None  # noqa: S106 - it is empty


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"retries": -1},
        {"retries": 1.5},
        {"max_wait": -1},
        {"max_wait": float("nan")},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
        HubSettings(**wrong)
