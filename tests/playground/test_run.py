"""Where the playground listens, and what is said of it."""

import socket

import pytest

from tryage.errors import InputError
from tryage_playground.run import describe_reach, listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_nothing_is_said_where_only_this_computer_reaches_the_page(host):
    assert describe_reach(host) is None


def test_it_is_said_what_others_can_do_who_reach_the_page():
    assert "no password" in describe_reach("0.0.0.0")  # noqa: S104 - warned of


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}.*--port"):
            listen("127.0.0.1", port)


def test_any_free_port_is_found():
    with listen("127.0.0.1", 0) as found:
        assert found.getsockname()[1] > 0
