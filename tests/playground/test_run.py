"""Where the playground listens, and what is said of it."""

import pytest

from tryage_playground.run import describe_reach


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_nothing_is_said_where_only_this_computer_reaches_the_page(host):
    assert describe_reach(host) is None


def test_it_is_said_what_others_can_do_who_reach_the_page():
    assert "no password" in describe_reach("0.0.0.0")  # noqa: S104 - warned of
