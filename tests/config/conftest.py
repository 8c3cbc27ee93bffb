"""Files of settings for the tests."""

from __future__ import annotations

import pytest

from tryage.errors import ConfigError

pytest.importorskip("pydantic")


@pytest.fixture
def write(tmp_path):
    """Write a file into the test's folder and return its path."""

    def write_file(text, name="tryage.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write_file


@pytest.fixture
def problems(write):
    """Return the problems of a file of settings, each as "line key: message"."""
    from tryage.config.load import load_config

    def read(text, **environment):
        with pytest.raises(ConfigError) as caught:
            load_config(write(text), environment=environment)
        return [f"{one.line} {one.key}: {one.message}" for one in caught.value.problems]

    return read
