"""Time what reading flags costs for hostile prompts of any length: processor time, best of rounds.

Run `python benchmarks/flag_reading.py`; another revision with PYTHONPATH set to its `shared`.
"""

from __future__ import annotations

import time

from tryage.core.flags import extract_flags

_ROUNDS = 5

PROMPTS = {
    "1 MB of text": "hello world " * 85_000,
    "1 MB of [": "[" * 1_000_000,
    "10 MB of [": "[" * 10_000_000,
    "a flag and 1 MB of ]": "[flag:new]" + "]" * 1_000_000 + "[flag:new]",
    "2.2 MB of flags": "[Flag: smallest model]" * 100_000,
    "1.2 MB of malformed flags": "[flag:" * 200_000,
    "1 MB of long flags": ("[flag:" + ",".join(["new"] * 120) + "]") * 2_000,
    "1 MB of nested flags": "[fl" * 100_000 + "[flag:new]" + "ag:new]" * 100_000,
}


def main() -> None:
    """Print the milliseconds for each prompt."""
    print("| prompt | ms |\n|---|---|")
    for name, prompt in PROMPTS.items():
        print(f"| {name} | {1e3 * _best_time(prompt):.2f} |")


def _best_time(prompt: str) -> float:
    """Return the least processor time of some rounds, in seconds."""
    times = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        extract_flags(prompt)
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
