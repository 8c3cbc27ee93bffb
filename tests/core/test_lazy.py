"""A package exports names that are imported when they are first used."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules, walk_packages

import pytest

import tryage
from tryage.core.lazy import lazy_exports


@pytest.fixture
def package(monkeypatch):
    """A module with three lazy names."""
    module = type(sys)("some_package")
    monkeypatch.setitem(sys.modules, "some_package", module)
    exports = {"Expert": "tryage.core.expert", "Model": "tryage.core.expert:Expert", "x": "nowhere"}
    module.__getattr__, module.__dir__ = lazy_exports("some_package", exports)
    return module


def test_a_name_is_imported_from_its_module_and_kept(package):
    from tryage.core.expert import Expert

    assert "Expert" not in vars(package)
    assert package.Expert is Expert
    assert vars(package)["Expert"] is Expert


def test_a_name_may_differ_from_that_in_its_module(package):
    assert package.Model is package.Expert


def test_the_names_are_listed_before_they_are_imported(package):
    assert {"Expert", "Model", "x"} <= set(dir(package))


def test_an_unknown_name_is_refused_with_the_known_ones(package):
    with pytest.raises(AttributeError, match=r"'some_package' has no attribute 'Expret'.*'Expert'"):
        _ = package.Expret


@pytest.mark.parametrize(
    "package", [one.name for one in walk_packages(tryage.__path__, "tryage.") if one.ispkg]
)
def test_no_exported_name_is_hidden_by_a_module_of_its_package(package):
    # Once `package.some_name` is imported as a module, `from package import some_name` finds that.
    exported = getattr(import_module(package), "__all__", ())
    modules = {one.name for one in iter_modules(import_module(package).__path__)}
    assert not modules & set(exported)
