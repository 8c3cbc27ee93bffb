"""Every exception: the tree that the docstring draws is the tree of the classes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from tryage import errors

CLASSES = {
    name: cls
    for name, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, BaseException)
}


def drawn_tree():
    """Return name -> (name of the parent, names of other bases) as the docstring draws it."""
    tree, path = {}, []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^([│├└─ ]*)(\w+Error)\b(?: \((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 4
            path = [*path[:depth], match[2]]
            tree[match[2]] = (path[-2] if depth else None, match[3])
    return tree


def test_the_docstring_draws_every_class_below_its_parent():
    tree = drawn_tree()
    assert set(tree) == set(CLASSES)
    for name, (parent, other) in tree.items():
        bases = {base.__name__ for base in CLASSES[name].__bases__}
        assert bases == {parent or "Exception"} | ({other} if other else set()), name


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_is_a_tryage_error_with_a_message_and_survives_pickling(name):
    error = CLASSES[name]("what, expected, to do")
    assert isinstance(error, errors.TryageError)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again)) == (type(error), "what, expected, to do")


@pytest.mark.parametrize("name", ["AllFailedError", "DeadlineExceededError"])
def test_a_pickle_of_failed_attempts_holds_no_error_of_a_client(name):
    class KeyRefusedError(Exception):
        """A class that cannot be pickled, as many of clients; its message quotes the key."""

    error = CLASSES[name]("a: KeyRefusedError: ***", [("a", KeyRefusedError("sk-12345678"))])
    data = pickle.dumps(error)
    assert b"12345678" not in data
    again = pickle.loads(data)  # noqa: S301 - our own bytes
    assert str(again) == "a: KeyRefusedError: ***"
    ((expert, cause),) = again.failures
    assert (expert, type(cause), str(cause)) == ("a", errors.ClientError, "KeyRefusedError")
    assert pickle.dumps(again) == data


def test_errors_keep_the_details_that_a_caller_needs():
    failures = [("a", TimeoutError()), ("b", ValueError())]
    assert errors.AllFailedError("all", failures).failures == tuple(failures)
    assert errors.HubQuotaError("wait", retry_after=3.5).retry_after == 3.5
    assert errors.HubError("no").status is None
