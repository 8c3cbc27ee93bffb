"""Where the file of settings is looked for."""

from __future__ import annotations

import pytest

from tryage.config.find import find_config
from tryage.errors import ConfigError, InputError


def test_a_given_path_comes_before_all_others(write, tmp_path):
    given, other = write("", "own.toml"), write("")
    found = find_config(given, folder=tmp_path, environment={"TRYAGE_CONFIG": str(other)})
    assert found == given


def test_the_variable_comes_before_the_working_folder(write, tmp_path):
    write("")
    other = write("", "other.toml")
    assert find_config(folder=tmp_path, environment={"TRYAGE_CONFIG": str(other)}) == other


def test_the_nearest_parent_with_a_file_counts(write, tmp_path):
    write("")
    nearest = write("", "a/tryage.toml")
    (tmp_path / "a/b/c").mkdir(parents=True)
    assert find_config(folder=tmp_path / "a/b/c", environment={}) == nearest


def test_a_project_file_counts_only_with_a_table_of_ours(write, tmp_path):
    outer = write("[tool.tryage]", "pyproject.toml")
    write("[tool.ruff]", "a/pyproject.toml")
    assert find_config(folder=tmp_path / "a", environment={}) == outer


def test_a_file_of_its_own_comes_before_a_project_file(write, tmp_path):
    own = write("")
    write("[tool.tryage]", "a/pyproject.toml")
    assert find_config(folder=tmp_path / "a", environment={}) == own


def test_without_any_file_the_error_says_where_it_looked(tmp_path):
    with pytest.raises(ConfigError, match=r"Looked for tryage\.toml.*pyproject\.toml") as caught:
        find_config(folder=tmp_path, environment={})
    assert str(tmp_path) in str(caught.value)
    assert "TRYAGE_CONFIG" in str(caught.value)


def test_a_path_without_a_file_is_an_error_that_says_who_named_it(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        find_config(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="TRYAGE_CONFIG says so"):
        find_config(environment={"TRYAGE_CONFIG": str(tmp_path / "no.toml")})


@pytest.mark.parametrize("path", [5, b"tryage.toml", ["tryage.toml"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputError, match="expected the path of a file"):
        find_config(path)


def test_a_folder_is_no_file_and_the_error_names_the_file_in_it(write, tmp_path):
    path = write("")
    with pytest.raises(ConfigError, match=f"Did you mean {path}"):
        find_config(tmp_path)
