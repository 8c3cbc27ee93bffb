"""What a table tells of a client; tests/langchain and tests/llamaindex test whole chat models."""

from __future__ import annotations

import pytest

pytest.importorskip("pydantic")

from tryage.chat.configured_model import client_settings
from tryage.config.load import load_config
from tryage.errors import ConfigError, InputError

MODEL = """
[[models]]
model = "openai:a"
api_key_env = "OWN_KEY"
base_url = "http://${OWN_HOST}/v1"
settings = {temperature = 0.5}
"""


def settings_of(path, **environment):
    loaded = load_config(path, environment=environment)
    return client_settings(loaded.config.models[0], loaded, 0)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "tryage.toml"
    file.write_text(MODEL)
    return file


def test_the_key_and_the_address_come_from_the_environment(path):
    assert settings_of(path, OWN_KEY="key", OWN_HOST="a:1") == {
        "temperature": 0.5,
        "base_url": "http://a:1/v1",
        "api_key": "key",
    }


def test_a_missing_variable_is_an_error_that_names_it(path):
    with pytest.raises(InputError, match="OWN_KEY: set it"):
        settings_of(path, OWN_HOST="a:1")
    with pytest.raises(ConfigError, match="OWN_HOST is not set"):
        settings_of(path, OWN_KEY="key")
