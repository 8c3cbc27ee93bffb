"""A safetensors header that lies, or a file made to fill the memory, is refused in words."""

from __future__ import annotations

import json
import resource
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from tryage.errors import PersistenceError
from tryage.perception.serialization import read_arrays, read_header


def packed(header, data=b"", *, length=None):
    """Return a safetensors file with this header, which is a dict or text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


FOUR = b"\0" * 4
FILES = {
    "a header of exabytes": packed(tensor(), FOUR, length=2**63),
    "a header of 100 MB that is not there": packed(tensor(), FOUR, length=100_000_000),
    "a header without an end": packed(b"{" * 1_000),
    "many levels": packed(b"[" * 1_000_000),
    "no object": packed([]),
    "no header": b"",
    "half a length": b"\0\0\0",
    "a tensor beyond the file": packed(tensor(offsets=(0, 10**15)), FOUR),
    "a tensor that ends before it begins": packed(tensor(offsets=(4, 0)), FOUR),
    "negative offsets": packed(tensor(offsets=(-4, 0)), FOUR),
    "a shape that overflows": packed(tensor(shape=(2**62, 8)), FOUR),
    "a shape that is too large": packed(tensor(shape=(10**9,)), FOUR),
    "a shape of words": packed(tensor(shape=("1",)), FOUR),
    "an unknown type": packed(tensor(dtype="X8"), FOUR),
    "a type that numpy lacks": packed(tensor(dtype="BF16", offsets=(0, 2)), FOUR[:2]),
    "a hole between tensors": packed(
        {**tensor(), "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}, FOUR * 3
    ),
    "tensors over each other": packed(
        {**tensor(), "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, FOUR
    ),
    "bytes after the end": packed(tensor(), FOUR * 2),
    "a name that is no text": packed(b'{"\xff": 1}', FOUR),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_header_that_lies_is_refused(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    path.write_bytes(FILES[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PersistenceError, match=r"a\.safetensors is missing or damaged") as caught:
        read_arrays(path, "router")
    assert len(str(caught.value)) < 1_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    whole = save({"a": np.zeros(8, np.float32), "b": np.zeros((2, 2), np.int64)})
    path = tmp_path / "a.safetensors"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(PersistenceError):
            read_arrays(path, "router")


@pytest.mark.parametrize(
    "text",
    [b"", b"[" * 100_000, b"null", b'{"format": NaN}', b"\xff\xfe", b'{"format": "1"}',
     b'{"format": 1e999}', b'{"format": true, "format": []}', b"1" * 5_000],
)  # fmt: skip
def test_a_header_that_is_no_header_is_refused(tmp_path, text):
    path = tmp_path / "router.json"
    path.write_bytes(text)
    with pytest.raises(PersistenceError) as caught:
        read_header(path, "router", 3, {"format": int, "library": list})
    assert len(str(caught.value)) < 1_000
