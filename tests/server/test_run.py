"""Where the server may listen without keys: on this computer alone."""

import pytest

from tryage.errors import InputError
from tryage_server.run import check_address, is_loopback
from tryage_server.settings import ServerSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "[::1]", "localhost"])
def test_addresses_of_this_computer_need_no_key(host):
    assert is_loopback(host)
    check_address(host, ServerSettings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.evil.io"])  # noqa: S104 - refused
def test_other_addresses_need_a_key(host):
    with pytest.raises(InputError, match="TRYAGE_SERVER_KEYS"):
        check_address(host, ServerSettings())
    check_address(host, ServerSettings(keys=["a key of some length"]))
