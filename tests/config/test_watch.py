"""Settings that change while a program runs."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref

import pytest

pytest.importorskip("watchfiles")

from tryage.config.watch import ConfigWatch


@pytest.fixture
def watch(write):
    """Watch a file whose default is the number that it made."""
    made = []

    def make(loaded, _):
        made.append(int(loaded.config.router.default))
        return made[-1]

    watches = []

    def start(number=0):
        path = write(text(number))
        watches.append(ConfigWatch(path, make))
        return watches[-1]

    yield start
    for one in watches:
        one.close()


def text(number):
    return f'[router]\ndefault = "{number}"\n'


def wait_until(is_done, seconds=20.0):
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def test_a_changed_file_is_in_force_by_itself(watch):
    one = watch()
    one.path.write_text(text(7))
    wait_until(lambda: one.current == 7)


def test_a_file_that_is_replaced_as_editors_do_is_in_force(watch):
    one = watch()
    other = one.path.with_name(".tryage.toml.new")
    other.write_text(text(8))
    other.replace(one.path)
    wait_until(lambda: one.current == 8)


def test_a_wrong_file_is_logged_and_the_old_one_goes_on(watch, caplog):
    one = watch(1)
    one.path.write_text('[router]\ndefault = 3\npath = "sk-abcdefghijklmnopqrstuvwx123456"\n')
    with caplog.at_level(logging.WARNING, "tryage"):
        assert not one.reload()
    assert one.current == 1
    assert f"{one.path}:2: router.default: got 3" in caplog.text
    assert "abcdefghij" not in caplog.text
    one.path.write_text(text(2))
    assert one.reload()
    assert one.current == 2


@pytest.mark.parametrize("wrong", ["", "a = [", text("no number")])
def test_an_empty_a_broken_and_a_failing_file_change_nothing(watch, wrong):
    one = watch(1)
    one.path.write_text(wrong)
    assert not one.reload()
    assert one.current == 1


def test_a_file_that_is_gone_changes_nothing(watch):
    one = watch(1)
    one.path.unlink()
    assert not one.reload()
    assert one.current == 1


def test_files_that_the_settings_name_are_watched_too(watch, write):
    models = write('[[models]]\nname = "a"\n', "models.toml")
    one = watch()
    one.path.write_text(f'include = ["models.toml"]\n{text(1)}')
    assert one.reload()
    assert models in one._files
    models.write_text("[[models]]\nname = 3\n")
    before = dict(one._stamps)
    one.check()
    assert one._stamps != before
    assert one.current == 1


def test_the_facts_about_models_are_watched(watch, tmp_path, monkeypatch):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    one = watch(1)
    calls = []
    one._make = lambda loaded, _: calls.append(loaded) or 5
    one.check()
    assert not calls
    (tmp_path / "home" / "models.json.gz").write_bytes(b"new")
    one.check()
    assert one.current == 5


def test_the_thread_ends_with_close_and_with_the_last_reference(watch, write):
    one = watch()
    one.close()
    assert not one._thread.is_alive()
    other = ConfigWatch(write(text(1)), lambda *_: 1)
    thread, gone = other._thread, weakref.ref(other)
    del other
    wait_until(lambda: gc.collect() is not None and gone() is None)  # the thread looks now and then
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_the_child_of_a_fork_watches_by_itself(watch):
    one = watch(1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # the child only
        try:
            assert one.current == 1
            one.path.write_text(text(3))
            wait_until(lambda: one.current == 3)
            os.write(writer, b"3")
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"3"


def test_readers_see_each_version_whole_while_the_file_changes_fifty_times(write):
    path = write("")

    def make(loaded, _):
        names = [one.name for one in loaded.config.models]
        return names, loaded.config.router.default

    path.write_text('[router]\ndefault = "0"\n[[models]]\nname = "0"\n')
    one = ConfigWatch(path, make)
    seen, is_over = set(), threading.Event()

    def read():
        while not is_over.is_set():
            names, default = one.current
            seen.add((tuple(names), default))
            time.sleep(0.0005)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for i in range(1, 51):
        path.write_text(f'[router]\ndefault = "{i}"\n[[models]]\nname = "{i}"\n')
        time.sleep(0.004)
    wait_until(lambda: one.current[1] == "50")
    is_over.set()
    for reader in readers:
        reader.join()
    one.close()
    assert all(names == (default,) for names, default in seen)
