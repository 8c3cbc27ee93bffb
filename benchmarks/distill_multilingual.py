"""Make the static encoder for many languages from the English one and translated texts.

The English table is the teacher: a translated sentence learns the embedding that the table gives to
its English sentence, and English texts keep theirs. The same command with `--start` continues.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from distill_corpus import held_out, read_corpus
from distill_multilingual_corpus import read_translations
from distill_multilingual_noise import disturb
from distill_multilingual_pieces import find_piece_file, read_pieces
from distill_multilingual_vocabulary import base_pieces, frequent_pieces, make_tokenizer
from distill_students import SIF, train_static
from scipy.sparse import csr_array

from tryage.learning.training.optimizer import Schedule
from tryage.perception.encoder import StaticEncoder
from tryage.perception.persistence import load_encoder
from tryage.perception.tokenizer import head_and_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distill_multilingual_corpus import Translations
    from tokenizers import Tokenizer

    from tryage.core.arrays import Float32Array, Int64Array

BUNDLED = Path(__file__).parents[1] / "shared/tryage/perception/bundled/encoder"
SIZE = 56_000  # pieces: the folder has less than 16 MB
MAX_LENGTH = 512  # tokens
SCHEDULE = Schedule(epochs=2, learning_rate=5e-3, batch_size=4_096, dropout=0.1)
JUDGED = ("zh", "ja", "ko", "ar", "hi", "ru", "de", "fr", "es", "pt", "tr", "th", "vi")
N_SENTENCES = 60_000  # English sentences of the catalogues that keep their embedding

# How many sentences are taken, and what a language weighs in the choice of pieces. Languages of
# scripts with few texts of their own in the teacher's vocabulary weigh more.
LANGUAGES = {
    **dict.fromkeys(("zh", "ja", "ko", "ar", "hi", "ru"), (40_000, 3.0)),
    **dict.fromkeys(("de", "fr", "es", "pt", "it", "nl", "pl"), (30_000, 1.0)),
    **dict.fromkeys(("tr", "vi", "id", "uk", "fa", "th", "he"), (30_000, 1.0)),
    **dict.fromkeys(("cs", "sv", "el", "ro", "hu", "fi", "da", "bn"), (20_000, 1.0)),
    **dict.fromkeys(("sk", "ca", "lt", "hr", "sl", "et", "gl", "nb", "lv"), (10_000, 0.3)),
    **dict.fromkeys(("eu", "bg", "sr", "is", "mr", "be", "ta", "gu", "pa"), (10_000, 0.3)),
    **dict.fromkeys(("bs", "eo", "ml", "ga", "oc", "kn", "sq", "mk"), (8_000, 0.3)),
    **dict.fromkeys(("ms", "nn", "te", "ka", "ne", "cy", "af", "kk"), (8_000, 0.3)),
    **dict.fromkeys(("ur", "az", "hy", "sw", "si", "my", "km", "mn", "tl"), (8_000, 0.3)),
}
DICTIONARY_SHARE = 0.4  # words for each sentence
OTHER_SCRIPTS = ("ar", "bg", "el", "hi", "ja", "ru")  # they are not written in Latin letters


@dataclass(frozen=True)
class Example:
    """A text, its language, and the English text whose embedding it shall have."""

    text: str
    language: str
    english: str


def choose_examples(translations: Translations, rng: np.random.Generator) -> list[Example]:
    """Take a number of texts of each language at random: sentences, and words of dictionaries."""
    by_language: dict[str, list[Example]] = {language: [] for language in LANGUAGES}
    for english, others in translations.items():
        for language, text in others.items():
            if language in by_language:
                by_language[language].append(Example(text, language, english))
    chosen = []
    for language, examples in by_language.items():
        rows = rng.permutation(len(examples))[: LANGUAGES[language][0]]
        chosen += [examples[row] for row in rows]
    return chosen


def choose_words(words: Sequence[tuple[str, str, str]], rng: np.random.Generator) -> list[Example]:
    """Take words of the dictionaries at random, as many of each language as its share says."""
    by_language: dict[str, list[Example]] = {language: [] for language in LANGUAGES}
    for english, language, text in words:
        if language in by_language and _is_usable(english, language, text):
            by_language[language].append(Example(text, language, english.lower()))
    chosen = []
    for language, examples in by_language.items():
        size = int(LANGUAGES[language][0] * DICTIONARY_SHARE)
        chosen += [examples[row] for row in rng.permutation(len(examples))[:size]]
    return chosen


def _is_usable(english: str, language: str, text: str) -> bool:
    """Tell whether the two sides of an entry are what they should be: some are exchanged."""
    return english.isascii() and not (language in OTHER_SCRIPTS and text.isascii())


def english_examples(texts: Sequence[str], rng: np.random.Generator) -> list[Example]:
    """Return each English text as it is, and once with mistakes of typing."""
    plain = [Example(text, "en", text) for text in texts]
    return plain + [Example(disturb(text, rng), "en", text) for text in texts]


def choose_pieces(
    examples: Sequence[Example], base: Sequence[str], pieces: Sequence[tuple[str, float]]
) -> tuple[list[str], dict[str, float]]:
    """Return the vocabulary and the frequency of each piece."""
    texts: dict[str, list[str]] = {}
    for example in examples:
        texts.setdefault(example.language, []).append(example.text)
    weights = {language: LANGUAGES[language][1] for language in texts}
    return frequent_pieces(base, pieces, texts, weights, SIZE)


def initial_rows(
    pieces: Sequence[str],
    english: StaticEncoder,
    ids: Sequence[Int64Array],
    targets: Float32Array,
    frequency: Mapping[str, float],
) -> Float32Array:
    """Start a known piece from its row of the English table, another one from its sentences.

    A new piece is the mean of the targets of the texts `(n, dim)` that it occurs in, less the mean
    of all, as long as its rarity says (SIF).
    """
    known = english._tokenizer.tokenizer.get_vocab()  # noqa: SLF001 - a script of the same project
    table = _rows(english)
    is_known = np.array([piece in known for piece in pieces])
    counts = [len(text_ids) for text_ids in ids]
    occurrences = csr_array(
        (np.ones(sum(counts), np.float32), np.concatenate(ids), np.cumsum([0, *counts])),
        shape=(len(ids), len(pieces)),
    )
    rows = np.asarray(occurrences.T @ (targets - targets.mean(0)), np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    old_rows = table[[known[p] for p in pieces if p in known]]
    rarity = SIF / (SIF + np.array([frequency.get(p, 0.0) for p in pieces], np.float32))
    rows *= np.median(np.linalg.norm(old_rows, axis=1)) * rarity[:, None]
    rows[is_known] = old_rows
    return rows


def _rows(encoder: StaticEncoder) -> Float32Array:
    table, scales = encoder._table, encoder._scales  # noqa: SLF001 - a script of the same project
    return np.multiply(table, scales[:, None], dtype=np.float32)


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Int64Array]:
    """Return what the encoder reads of each text."""
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [head_and_tail(np.asarray(e.ids, np.int64), MAX_LENGTH) for e in encodings]


def train(
    pieces: Sequence[str],
    frequency: Mapping[str, float],
    examples: Sequence[Example],
    english: StaticEncoder,
    start: StaticEncoder | None = None,
) -> StaticEncoder:
    """Train the rows so that every text has the embedding of its English text in the old table.

    `start` is a table with the same pieces, from which the training continues.
    """
    tokenizer = make_tokenizer(pieces)
    texts = list(dict.fromkeys(e.english for e in examples))
    place = {text: row for row, text in enumerate(texts)}
    embeddings = np.concatenate(
        [english.encode(texts[i : i + 64]) for i in range(0, len(texts), 64)]
    )
    targets = embeddings[[place[e.english] for e in examples]]
    ids = token_ids(tokenizer, [e.text for e in examples])
    kept = np.flatnonzero(np.any(targets, axis=1) & np.array([len(i) > 0 for i in ids]))
    ids, targets = [ids[row] for row in kept], targets[kept]
    rows = initial_rows(pieces, english, ids, targets, frequency)
    if start is not None:
        rows = _rows(start)
    trained = train_static(rows, ids, targets, SCHEDULE)
    return StaticEncoder.from_rows(trained, tokenizer, MAX_LENGTH)


def judge(encoder: StaticEncoder, english: StaticEncoder, examples: Sequence[Example]) -> None:
    """Print the cosine to the old embedding of the English text, by language, on unseen texts."""
    by_language: dict[str, list[Example]] = {}
    for example in examples:
        by_language.setdefault(example.language, []).append(example)
    for language, part in by_language.items():
        some = part[:600]
        ours = encoder.encode([e.text for e in some])
        theirs = english.encode([e.english for e in some])
        cosines = ours @ theirs.T
        hits = (cosines.argmax(1) == np.arange(len(some))).mean()
        print(
            f"{language}: {np.diag(cosines).mean():.3f}, found {hits:.3f} of {len(some)}",
            flush=True,
        )


def main() -> None:
    """Read the texts, choose the pieces, train and save the encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, help="a folder of wheels, Debian packages, indices")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/encoders/multilingual"))
    parser.add_argument("--start", type=Path, help="an encoder of this command, to go on from")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    translations, words = read_translations(options.packages)
    seen = {e: t for e, t in translations.items() if not held_out(e)}
    unseen = {e: t for e, t in translations.items() if held_out(e)}
    examples = choose_examples(seen, rng)
    english, start = load_encoder(BUNDLED), options.start and load_encoder(options.start)
    if start is None:
        base = base_pieces(english._tokenizer.tokenizer)  # noqa: SLF001 - of the same project
        pieces, frequency = choose_pieces(examples, base, read_pieces(find_piece_file()))
    else:
        vocabulary = start._tokenizer.tokenizer.get_vocab()  # noqa: SLF001 - of the same project
        pieces, frequency = sorted(vocabulary, key=vocabulary.__getitem__), {}
    sentences = list(dict.fromkeys(e.english for e in examples))
    kept = [sentences[row] for row in rng.permutation(len(sentences))[:N_SENTENCES]]
    examples += choose_words(words, rng)
    examples += english_examples([*read_corpus(options.data).train, *kept], rng)
    encoder = train(pieces, frequency, examples, english, start)
    encoder.save(options.out)
    judge(encoder, english, [e for e in choose_examples(unseen, rng) if e.language in JUDGED])


if __name__ == "__main__":
    main()
