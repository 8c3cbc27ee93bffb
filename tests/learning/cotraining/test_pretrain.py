"""Long training of a student resumes where it was stopped; tokenizers have a minimal size."""

import signal

import pytest

from tryage.errors import InputError, PersistenceError
from tryage.learning.cotraining.pretrain import train, train_tokenizer
from tryage.learning.cotraining.student import CausalStudent, MaskedStudent

TEXTS = [f"def add_{i}(a, b):\n    return a + b + {i}\n" for i in range(40)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300, progress=False)


@pytest.fixture(params=[MaskedStudent, CausalStudent])
def make(request, tokenizer):
    def make(name="tiny", **settings):
        return request.param.new(
            name, tokenizer, width=16, layers=1, heads=2, length=32, learning_rate=1e-2, **settings
        )

    return make


def interrupted(student, after):
    """Press Ctrl-C during the update after so many."""
    update, left = student.update, iter(range(after))

    def interrupt(*args, **settings):
        if next(left, None) is None:
            signal.raise_signal(signal.SIGINT)
        return update(*args, **settings)

    student.update = interrupt
    return student


def test_a_resumed_training_equals_an_uninterrupted_one(make, tmp_path):
    whole, saved, rest = (make(batch_tokens=128) for _ in range(3))
    train(whole, TEXTS, 3000, progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(
            interrupted(make(batch_tokens=128), 2),
            TEXTS,
            3000,
            checkpoint=tmp_path,
            progress=False,
        )
    saved.load_state(tmp_path)
    assert saved.updates == 3  # the current one is finished
    learn, updates = rest.update, []
    rest.update = lambda *args, **options: updates.append(args) or learn(*args, **options)
    train(rest, TEXTS, 3000, checkpoint=tmp_path, progress=False)
    assert len(updates) == whole.updates - 3
    assert rest.losses(TEXTS).tolist() == whole.losses(TEXTS).tolist()
    assert 3000 <= rest.tokens_seen == whole.tokens_seen


def test_a_finished_training_is_only_loaded(make, tmp_path):
    done, again = make(), make()
    train(done, TEXTS, 500, checkpoint=tmp_path, progress=False)
    train(interrupted(again, 0), TEXTS, 500, checkpoint=tmp_path, progress=False)
    assert again.losses(TEXTS).tolist() == done.losses(TEXTS).tolist()


def test_a_checkpoint_of_other_texts_is_refused(make, tmp_path):
    train(make(), TEXTS, 500, checkpoint=tmp_path, progress=False)
    with pytest.raises(PersistenceError, match="another student, texts or length"):
        train(make(), TEXTS[1:], 500, checkpoint=tmp_path, progress=False)


def test_a_damaged_checkpoint_is_refused(make, tmp_path):
    train(make(), TEXTS, 500, checkpoint=tmp_path, progress=False)
    (tmp_path / "goal.json").write_text("{")
    with pytest.raises(PersistenceError, match="damaged"):
        train(make(), TEXTS, 500, checkpoint=tmp_path, progress=False)


def test_training_without_texts_or_tokens_is_refused(make):
    for texts, tokens in (([], 10), (TEXTS, 0), (["", ""], 10)):
        with pytest.raises(InputError, match=r"expected at least|nothing to predict"):
            train(make(), texts, tokens, progress=False)


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(InputError, match="size is 100"):
        train_tokenizer(TEXTS, 100)
