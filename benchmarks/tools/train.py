"""Train the bundled tool ranker on the tool-choice sets, whose licences allow it.

    python benchmarks/tools/train.py --out shared/tryage/tools/bundled

A fifth of the queries, by a hash of the text, is never trained on. benchmarks/tools/evaluate.py
judges the same configuration on queries and on tools that were not in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from folds import CONFIG
from sets import load

from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.tools.persistence import save_matcher
from tryage.tools.training import fit_ranker


def main() -> None:
    """Train and save the ranker without its encoder, which is that of the bundled router."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    episodes = [episode for part in load().values() for episode in part]
    encoder, checkpoint = load_encoder(BUNDLED_FOLDER / "encoder"), Path("build/tools")
    ranker = fit_ranker(episodes, encoder, config=CONFIG, checkpoint=checkpoint)
    save_matcher(ranker.matcher, ranker.feedback, options.out)
    print(f"Saved to {options.out}: learned from {len(episodes):,} queries.")


if __name__ == "__main__":
    main()
