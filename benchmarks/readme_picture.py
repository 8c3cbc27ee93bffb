"""Draw the picture of the README: cost and score of a request, on real outcomes.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/readme_picture.py ENCODER_FOLDER [--out docs/front.png]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from evaluate_all import evaluate_set

from tryage.learning.evaluation.report import plot_front
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.perception.persistence import load_encoder

SET = "coderouter_id"  # eight recent models on code, with measured or estimated prices


def main() -> None:
    """Cross-validate the router on the set and draw its front."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--out", type=Path, default=Path("docs/front.png"))
    arguments = parser.parse_args()
    found = evaluate_set(SET, load_encoder(arguments.encoder), EvaluationConfig())
    plot_front(replace(found, name="Eight recent models on code"), arguments.out)
    print(found.table())


if __name__ == "__main__":
    main()
