"""Write `outcomes.json`, the recorded outcomes that stand in for API keys in the demo.

    python examples/demo/record.py ../shared/data/zoonk_tasks

It takes the prompts that the bundled router is not trained on and that all five models answered.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pyarrow import parquet

OUTCOMES = Path(__file__).with_name("outcomes.json")
MODELS = {  # the names that LangChain takes, and those of the set
    "openai:gpt-5.4-mini": "openai/gpt-5.4-mini",
    "openai:gpt-5.4": "openai/gpt-5.4",
    "anthropic:claude-haiku-4-5": "anthropic/claude-haiku-4.5",
    "anthropic:claude-sonnet-4-6": "anthropic/claude-sonnet-4.6",
    "google_genai:gemini-3.1-pro-preview": "google/gemini-3.1-pro-preview",
}
FIELDS = ("score", "input_tokens", "output_tokens")
HELD_OUT_ONE_IN = 5  # prompts, as in benchmarks/bundle/train.py


def is_held_out(prompt: str) -> bool:
    """Return whether the bundled router has not seen a prompt."""
    digest = blake2b(prompt.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return each prompt with its task and the outcome of every model."""
    outcomes: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in parquet.read_table(folder / "outcomes.parquet").to_pylist():
        if all(row[field] is not None for field in FIELDS):
            outcomes[row["prompt_id"]][row["model"]] = {field: row[field] for field in FIELDS}
    prompts = parquet.read_table(folder / "prompts.parquet").to_pylist()
    return [
        {
            "task": row["dataset"],
            "prompt": row["prompt"],
            "outcomes": {ours: known[theirs] for ours, theirs in MODELS.items()},
        }
        for row in prompts
        if is_held_out(row["prompt"])
        and set(MODELS.values()) <= set(known := outcomes[row["prompt_id"]])
    ]


def main() -> None:
    """Read the set and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    commit = meta["commit"].split()[0]
    content = {
        "source": f"https://github.com/{meta['source']} at {commit}, {meta['licence']}",
        "rows": read_rows(folder),
    }
    OUTCOMES.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
