"""Time of a `HiddenStateEncoder` by number type and threads, and what rounding leaves of states.

Run from the root of the repository, where `MODEL` is a folder or Hub id that transformers loads:

    python benchmarks/hidden_state_time.py MODEL [--set coderouter_id] [--prompts 48]

`int8` is torch's dynamic quantization: weights and, per product, activations with one scale, as
ONNX Runtime's dynamic quantization does. `kept` is the share of the variance of a state over the
prompts that remains beside float32, the median over its numbers: 1 minus the squared error of the
rounded states by their variance.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from datasets import SETS, load

from tryage.perception.hidden_state import HiddenStateEncoder

TYPES = ("float32", "bfloat16", "int8")
TEMPLATE = "<|im_start|>user\n{prompt}"


def make_encoder(model: str, kind: str, layers: list[int] | None) -> HiddenStateEncoder:
    """Return an encoder of the last token's states; int8 is quantized from float32."""
    dtype = "float32" if kind == "int8" else kind
    encoder = HiddenStateEncoder(
        model, layers, ("last", "mean"), template=TEMPLATE, dtype=dtype, device="cpu"
    )
    if kind == "int8":
        language_model = encoder._language_model  # noqa: SLF001 - it is not offered, only judged
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            language_model._model = torch.ao.quantization.quantize_dynamic(  # noqa: SLF001
                language_model._model,  # noqa: SLF001
                {torch.nn.Linear},
            )
    return encoder


def measure(encoder: HiddenStateEncoder, prompts: list[str]) -> tuple[np.ndarray, float, float]:
    """Return the embeddings one by one, and the median wall and processor time in milliseconds."""
    rows, wall, processor = [], [], []
    encoder.encode(prompts[:2])
    for prompt in prompts:
        start, processor_start = time.perf_counter(), time.process_time()
        rows.append(encoder.encode([prompt])[0])
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - processor_start)
    return np.array(rows), 1e3 * float(np.median(wall)), 1e3 * float(np.median(processor))


def kept_variance(rows: np.ndarray, exact: np.ndarray) -> float:
    """Return the share of the variance over prompts that remains, the median over the numbers."""
    return float(np.median(1 - ((rows - exact) ** 2).mean(axis=0) / exact.var(axis=0)))


def main() -> None:
    """Print one row for each type and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--set", choices=list(SETS), default="coderouter_id")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--layers", type=int, nargs="+", default=[15, 22])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    table = load(arguments.set)
    chosen = np.random.default_rng(0).permutation(len(table))[: arguments.prompts]
    prompts = [table.prompts[row] for row in chosen]
    print("| numbers | threads | wall, ms | processor, ms | kept, last | kept, mean |")
    print("|---|---|---|---|---|---|")
    exact = None
    for kind in TYPES:
        encoder = make_encoder(arguments.model, kind, arguments.layers)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            rows, wall, processor = measure(encoder, prompts)
            exact = rows if exact is None else exact
            blocks = (part.reshape(len(rows), -1, 2, len(rows[0]) // 4) for part in (rows, exact))
            by_pooling = np.moveaxis(np.array(list(blocks)), 3, 0)
            last, mean = (
                kept_variance(*(part.reshape(len(rows), -1) for part in pair))
                for pair in by_pooling
            )
            print(
                f"| {kind} | {threads} | {wall:.0f} | {processor:.0f} | {last:.2f} | {mean:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
