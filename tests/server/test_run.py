"""What is checked before the server listens, and what it writes of others' warnings."""

import logging
import socket
import warnings

import pytest
import uvicorn

from tryage.core import redaction
from tryage.errors import InputError
from tryage_langchain import ChatTryage
from tryage_server.run import check_address, check_models, serve
from tryage_server.settings import ServerSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "[::1]", "localhost"])
def test_addresses_of_this_computer_need_no_key(host):
    check_address(host, ServerSettings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.evil.io"])  # noqa: S104 - refused
def test_other_addresses_need_a_key(host):
    with pytest.raises(InputError, match="TRYAGE_SERVER_KEYS"):
        check_address(host, ServerSettings())
    check_address(host, ServerSettings(keys=["a key of some length"]))


def test_a_model_that_cannot_be_made_is_told_before_the_server_listens(models):
    def without_key():
        raise ValueError("no key is set")

    chat = ChatTryage.from_models({**models, "gpt-5.4": without_key})
    with pytest.raises(InputError, match=r"(?s)gpt-5.4: ValueError: no key is set.*Set the keys"):
        check_models(chat)
    check_models(ChatTryage.from_models(models))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_an_error_that_says_what_to_do(models, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
        with pytest.raises(InputError, match=f"on port {address['port']}.*--port"):
            serve(ChatTryage.from_models(models), ServerSettings(), **address, workers=workers)


def test_the_words_of_a_packages_warning_are_not_logged_because_they_quote_answers(
    chat, monkeypatch, caplog
):
    def run(_):
        warnings.warn_explicit("input_value='my knee hurts'", UserWarning, "/x/pydantic/main.py", 5)
        warnings.warn_explicit("the table is old", UserWarning, redaction.__file__, 7)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    caplog.set_level(logging.WARNING, "tryage_server")
    serve(chat, ServerSettings(), host="127.0.0.1", port=0)
    assert caplog.messages == [
        "UserWarning of pydantic/main.py (line 5)",
        "the table is old (line 7)",
    ]
