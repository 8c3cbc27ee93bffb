"""Checkpoints: only whole files of the same input are read back, and Ctrl-C asks first to stop."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from tryage.checkpoint import (
    fingerprint,
    graceful_interrupt,
    load_keyed_json,
    load_student_state,
    open_stage_checkpoint,
    save_keyed_json,
    save_student_state,
)
from tryage.errors import PersistenceError


class CountingStage:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(3.0) * self.calls, "b": np.eye(2, dtype=np.float32)[:, ::-1]}


def run_stage(folder, compute, key="k", name="stage"):
    with open_stage_checkpoint(folder, key, 1, progress=False) as stages:
        return stages.load_or_compute(name, compute)


def test_a_finished_stage_is_read_back_and_not_computed_again(tmp_path):
    compute = CountingStage()
    first, second = run_stage(tmp_path, compute), run_stage(tmp_path, compute)
    assert compute.calls == 1
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


def test_without_a_folder_every_stage_is_computed():
    compute = CountingStage()
    run_stage(None, compute)
    run_stage(None, compute)
    assert compute.calls == 2


def test_another_key_or_name_is_another_stage(tmp_path):
    compute = CountingStage()
    run_stage(tmp_path, compute, key="one")
    run_stage(tmp_path, compute, key="two")
    run_stage(tmp_path, compute, key="one", name="other")
    assert compute.calls == 3


ODD_NUMBERS = b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'


@pytest.mark.parametrize(
    "damage", [b"", b"nonsense", len(ODD_NUMBERS).to_bytes(8, "little") + ODD_NUMBERS + b"x", None]
)
def test_a_damaged_file_is_computed_again_and_replaced(tmp_path, damage):
    compute = CountingStage()
    run_stage(tmp_path, compute)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    run_stage(tmp_path, compute)
    run_stage(tmp_path, compute)
    assert compute.calls == 2


def test_a_stage_that_fails_leaves_nothing_behind(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path / "new", fail)
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_half_written_never_has_the_final_name(tmp_path, monkeypatch):
    def write_half(_, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("tryage.checkpoint.save_file", write_half)
    with pytest.raises(OSError, match="disk full"):
        run_stage(tmp_path, CountingStage())
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_depends_on_every_value_and_shape():
    zeros = np.zeros(4, np.float32)
    inputs = [
        (("a", "b"), zeros),
        (("a", "c"), zeros),
        (("a", "b"), zeros.reshape(2, 2)),
        (("a", "b"), zeros + 1),
        (("a", "b"), None),
        (("a", "\ud800"), None),
    ]
    assert len({fingerprint(*parts) for parts in inputs}) == len(inputs)
    assert fingerprint(*inputs[0]) == fingerprint(("a", "b"), np.zeros(4, np.float32))


@pytest.fixture
def default_ctrl_c():
    """Let Ctrl-C interrupt: it is ignored where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(times):
    """Return what happens in a block that gets some Ctrl-C, and is then interrupted."""
    events = []

    def work():
        with graceful_interrupt(lambda: events.append("stop")):
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            events.append("end of the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    return events


def test_the_first_ctrl_c_asks_to_stop_and_the_end_of_the_block_interrupts():
    before = signal.getsignal(signal.SIGINT)
    assert interrupted(1) == ["stop", "end of the block"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("default_ctrl_c")
def test_the_second_ctrl_c_interrupts_at_once():
    assert interrupted(2) == ["stop"]


def test_in_another_thread_ctrl_c_keeps_its_handler():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with graceful_interrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_fact_is_read_back_only_with_the_key_of_its_work(tmp_path):
    path = tmp_path / "note.json"
    save_keyed_json(path, "k", "tokens", 7)
    assert load_keyed_json(path, "k", "tokens", str, "other work") == "7"
    with pytest.raises(PersistenceError, match="holds other work: delete it"):
        load_keyed_json(path, "z", "tokens", str, "other work")
    deep = "[" * 100_000
    for damage in (None, "", "[]", '{"key": "k"}', '{"key": "k", "tokens": {}}', deep):
        path.unlink() if damage is None else path.write_text(damage)
        with pytest.raises(PersistenceError, match="damaged"):
            load_keyed_json(path, "k", "tokens", int, "other work")


def trained(torch, width=2):
    network = torch.nn.Linear(width, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return network, optimizer


def test_a_student_gets_its_weights_averages_and_facts_back(tmp_path):
    torch = pytest.importorskip("torch")
    network, optimizer = trained(torch)
    save_student_state(tmp_path, network, optimizer, {"name": "one", "steps": 1})
    other, other_optimizer = trained(torch)
    assert load_student_state(tmp_path, other, other_optimizer, "one")["steps"] == 1
    assert torch.equal(other.weight, network.weight)
    averages = (optimizer.state[network.weight], other_optimizer.state[other.weight])
    assert all(torch.equal(averages[0][key], averages[1][key]) for key in ("step", "exp_avg"))


def test_the_state_of_another_student_is_rejected_and_changes_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    save_student_state(tmp_path, *trained(torch), {"name": "one"})
    for name, width in (("two", 2), ("one", 3)):
        network, optimizer = trained(torch, width)
        before = network.weight.clone()
        with pytest.raises(PersistenceError, match="in this shape"):
            load_student_state(tmp_path, network, optimizer, name)
        assert torch.equal(network.weight, before)
    with pytest.raises(PersistenceError, match="no state"):
        load_student_state(tmp_path / "empty", *trained(torch), "one")


def test_a_full_disk_is_an_error_that_says_what_to_do_and_the_stage_is_computed_again(
    tmp_path, full_disk
):
    from tryage.errors import FileWriteError

    with open_stage_checkpoint(tmp_path, "key", 1, progress=False) as checkpoint:
        with full_disk(1_000), pytest.raises(FileWriteError, match="make room"):
            checkpoint.load_or_compute("stage", lambda: {"a": np.zeros(10_000)})
        assert list(tmp_path.iterdir()) == []
        checkpoint.load_or_compute("stage", lambda: {"a": np.zeros(10_000)})
        again = checkpoint.load_or_compute("stage", dict)
    assert again["a"].shape == (10_000,)
