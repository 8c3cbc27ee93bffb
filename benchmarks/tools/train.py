"""Train the bundled tool ranker on the tool-choice sets, whose licences allow it.

    python benchmarks/tools/train.py --out shared/tryage/tools/bundled

A fifth of the queries, by a hash of the text, is never trained on: they calibrate the scores.
benchmarks/tools/evaluate.py judges the same configuration on queries and on tools that were not in
training, benchmarks/tools/transfer.py on kinds of tools that were not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from folds import CONFIG
from sets import load
from topics import background, mmlu, topic_episodes

from tryage.perception.persistence import load_encoder
from tryage.tools.calibration import calibrate_topics
from tryage.tools.persistence import BUNDLED_FOLDER, CARD_FILE, save_ranker
from tryage.tools.training import fit_ranker

N_SUBJECT_QUESTIONS = 3_000  # of MMLU, whose subjects are topics, as those of query engines


def main() -> None:
    """Train and save the ranker with its encoder; a card that is in the folder stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sets, rng = load(), np.random.default_rng(0)
    questions = mmlu()
    subjects = [questions[i] for i in rng.permutation(len(questions))[:N_SUBJECT_QUESTIONS]]
    episodes = [episode for part in (*sets.values(), subjects) for episode in part]
    encoder, checkpoint = load_encoder(BUNDLED_FOLDER / "encoder"), Path("build/tools")
    ranker = fit_ranker(episodes, encoder, config=CONFIG, checkpoint=checkpoint)
    topics = topic_episodes({"mmlu": questions, **sets}, rng)
    matcher = calibrate_topics(ranker.matcher, encoder, background(rng), topics)
    card = options.out / CARD_FILE
    text = card.read_text("utf-8") if card.exists() else None
    save_ranker(options.out, encoder=encoder, matcher=matcher, feedback=ranker.feedback)
    if text is not None:
        card.write_text(text, "utf-8")
    print(f"Saved to {options.out}: learned from {len(episodes):,} queries.")


if __name__ == "__main__":
    main()
