"""Settings of the playground and their limits."""

import pytest

from tryage.errors import InputError
from tryage_playground import PlaygroundSettings
from tryage_playground.settings import DEFAULT_MODELS


def test_something_is_known_of_every_model_that_the_page_opens_with(pool):
    assert all(map(pool.is_known, DEFAULT_MODELS))


@pytest.mark.parametrize(
    "wrong", [{"models": "gpt-5.4"}, {"max_body": 0}, {"max_prompt": 0}, {"allowed_hosts": [1]}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        PlaygroundSettings(**wrong)
