"""Keys and limits of the server, as they are checked."""

import pytest

from tryage.errors import InputError
from tryage_server.settings import ServerSettings, keys_from_environment


@pytest.mark.parametrize(
    ("value", "keys"),
    [("", ()), ("one key of a length", ("one key of a length",)), (" a , b,", ("a", "b"))],
)
def test_keys_are_divided_by_commas(value, keys):
    assert keys_from_environment({"TRYAGE_SERVER_KEYS": value}) == keys


def test_settings_show_no_key():
    assert "secret" not in repr(ServerSettings(keys=["a secret key of a length"]))


@pytest.mark.parametrize(
    "wrong",
    [{"keys": ["short"]}, {"max_body": 0}, {"max_requests": 1.5}, {"deadline": float("nan")}],
)
def test_a_wrong_setting_is_an_error(wrong):
    with pytest.raises(InputError):
        ServerSettings(**wrong)
