"""The large sentence encoder from which the small ones are distilled: texts in, embeddings out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tryage.core.validation import require_extra
from tryage.perception.tokenizer import head_and_tail
from tryage.perception.tokenizer_file import read_tokenizer
from tryage.perception.transformer import length_batches, mean_pool, run_bert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import BertModel

    from tryage.core.arrays import Float32Array

SHARD_SIZE = 2_048  # texts of one file in the cache


@dataclass(frozen=True)
class Teacher:
    """A BERT-like sentence encoder: mean of the last hidden states, unit length."""

    model: BertModel
    tokenizer: Tokenizer
    max_length: int = 256

    @classmethod
    def load(cls, folder: Path) -> Teacher:
        """Read `config.json`, `model.safetensors` and `tokenizer.json` from a folder.

        Raises:
            MissingExtraError: torch or transformers is not installed.
        """
        require_extra("torch", "train")
        require_extra("transformers", "train")
        from transformers import BertModel

        tokenizer = read_tokenizer(folder / "tokenizer.json")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        model = BertModel.from_pretrained(folder, add_pooling_layer=False)
        model.train(mode=False)
        return cls(model, tokenizer)

    def token_ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token ids with [CLS] and [SEP]; of a long text the first and the last tokens."""
        encodings = self.tokenizer.encode_batch_fast(list(texts))
        return [head_and_tail(np.asarray(e.ids), self.max_length) for e in encodings]

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts into unit rows `(batch, hidden)`, in bfloat16: cosine .9999 to float32."""
        return self.embed_ids(self.token_ids(texts))

    def embed_ids(self, ids: Sequence[NDArray[np.int64]]) -> Float32Array:
        """Embed token ids into unit rows `(batch, hidden)`."""
        import torch

        rows = np.zeros((len(ids), self.model.config.hidden_size), np.float32)
        for batch in length_batches([len(i) for i in ids], max_tokens=4_096):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                hidden, mask = run_bert(self.model, [ids[i] for i in batch])
            rows[batch] = mean_pool(hidden, mask).numpy()
        return rows


def embed_with_cache(teacher: Teacher, texts: Sequence[str], cache: Path) -> Float32Array:
    """Embed many texts in shards under `cache`; a run that was killed resumes where it stopped."""
    cache.mkdir(parents=True, exist_ok=True)
    shards = []
    starts = range(0, len(texts), SHARD_SIZE)
    for start in tqdm(starts, desc="teacher", unit="shard", mininterval=5):
        part = texts[start : start + SHARD_SIZE]
        digest = hashlib.sha256("\0".join(part).encode("utf-8", "replace")).hexdigest()[:16]
        path = cache / f"{digest}.npy"
        if not path.exists():
            partial = path.with_suffix(".part")
            with partial.open("wb") as file:
                np.save(file, teacher.embed(part).astype(np.float16))
            partial.replace(path)
        shards.append(np.load(path, allow_pickle=False).astype(np.float32))
    return np.concatenate(shards)
