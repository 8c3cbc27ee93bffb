"""Where a server listens, and what is said if it cannot."""

import socket

import pytest

from tryage.errors import InputError
from tryage.sockets import listen


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}.*--port"):
            listen("127.0.0.1", port)


def test_any_free_port_is_found():
    with listen("127.0.0.1", 0) as found:
        assert found.getsockname()[1] > 0
