"""Finished stages are kept, and only what is whole and of the same input is read back."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.checkpoint import fingerprint, open_stage_checkpoint


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(3.0) * self.calls, "b": np.eye(2, dtype=np.float32)[:, ::-1]}


def run(folder, compute, key="k", name="stage"):
    with open_stage_checkpoint(folder, key, 1, progress=False) as stages:
        return stages.load_or_compute(name, compute)


def test_a_finished_stage_is_read_back_and_not_computed_again(tmp_path):
    compute = Counted()
    first, second = run(tmp_path, compute), run(tmp_path, compute)
    assert compute.calls == 1
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


def test_without_a_folder_every_stage_is_computed():
    compute = Counted()
    run(None, compute)
    run(None, compute)
    assert compute.calls == 2


def test_another_input_is_another_stage(tmp_path):
    compute = Counted()
    run(tmp_path, compute, key="one")
    run(tmp_path, compute, key="two")
    run(tmp_path, compute, key="one", name="other")
    assert compute.calls == 3


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_computed_again_and_replaced(tmp_path, damage):
    compute = Counted()
    run(tmp_path, compute)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    run(tmp_path, compute)
    run(tmp_path, compute)
    assert compute.calls == 2


def test_a_stage_that_fails_leaves_nothing_behind(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "new", fail)
    assert not (tmp_path / "new").exists()


def test_no_half_written_file_is_ever_under_the_final_name(tmp_path, monkeypatch):
    def cut(_, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("tryage.learning.checkpoint.save_file", cut)
    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, Counted())
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]


def test_a_fingerprint_sees_every_content_and_shape():
    zeros = np.zeros(4, np.float32)
    inputs = [
        (("a", "b"), zeros),
        (("a", "c"), zeros),
        (("a", "b"), zeros.reshape(2, 2)),
        (("a", "b"), zeros + 1),
        (("a", "b"), None),
        (("a", "\ud800"), None),
    ]
    assert len({fingerprint(*given) for given in inputs}) == len(inputs)
    assert fingerprint(*inputs[0]) == fingerprint(("a", "b"), np.zeros(4, np.float32))
