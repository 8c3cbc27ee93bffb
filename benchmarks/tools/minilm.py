"""all-MiniLM-L6-v2 from a folder: the sentence encoder that embedding retrievers use most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_LENGTH = 256  # tokens, as sentence-transformers sets it
BATCH = 32


class MiniLM:
    """Embeds texts as the mean of the last hidden states, scaled to unit length."""

    dim = 384

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer
        from transformers import BertModel

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_LENGTH)
        self.model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, `(n, 384)`."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        vectors = np.zeros((len(ids), self.dim), np.float32)
        by_length = np.argsort([len(one) for one in ids])
        for start in range(0, len(ids), BATCH):
            rows = by_length[start : start + BATCH]
            vectors[rows] = self._encode_batch([ids[row] for row in rows])
        return vectors

    def _encode_batch(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch

        length = max(map(len, ids))
        padded = torch.tensor([[*one, *[0] * (length - len(one))] for one in ids])
        mask = torch.tensor([[1] * len(one) + [0] * (length - len(one)) for one in ids])
        with torch.inference_mode():
            states = self.model(input_ids=padded, attention_mask=mask).last_hidden_state
        sums = (states * mask[:, :, None]).sum(dim=1)
        means = sums / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(means, dim=1).numpy()
