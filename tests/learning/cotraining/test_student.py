"""Students learn, keep what they learned, and tell the losses that scoring measures."""

import signal

import numpy as np
import pytest

from tryage.errors import InputError, MeasurementError, PersistenceError
from tryage.learning.cotraining.pretrain import train, train_tokenizer
from tryage.learning.cotraining.student import CausalStudent, MaskedStudent
from tryage.learning.scoring.losses import CausalLM, MaskedLM
from tryage.learning.scoring.measurement import Budget, Prompt

KINDS = [(MaskedStudent, MaskedLM), (CausalStudent, CausalLM)]
TEXTS = [f"def add_{i}(a, b):\n    return a + b + {i}\n" for i in range(40)]
OTHERS = ["Größe 漢字 🙂", "one two three four five " * 20]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([*TEXTS, *OTHERS], 300, progress=False)


@pytest.fixture(params=[kind for kind, _ in KINDS])
def make(request, tokenizer):
    def make(name="tiny", **settings):
        return request.param.new(
            name, tokenizer, width=16, layers=1, heads=2, length=32, learning_rate=1e-2, **settings
        )

    return make


@pytest.mark.parametrize(("kind", "measured_by"), KINDS)
def test_losses_are_those_that_scoring_measures_on_the_saved_folder(
    kind, measured_by, tokenizer, tmp_path
):
    student = kind.new("tiny", tokenizer, width=16, layers=1, heads=2, length=32)
    student.update(TEXTS)
    student.save_pretrained(tmp_path)
    texts = [*TEXTS[:3], *OTHERS]
    prompts = [Prompt(text) for text in texts]
    measured = dict(measured_by.from_pretrained(tmp_path).measure(prompts, Budget()))
    assert student.losses(texts) == pytest.approx(
        [measured[at].loss_per_char for at in range(len(texts))], rel=1e-6
    )


def test_what_was_learned_shows_in_the_losses(make):
    student = make()
    before = student.losses(TEXTS)
    first = student.update(TEXTS)
    for _ in range(60):
        last = student.update(TEXTS)
    assert student.losses(TEXTS).mean() < 0.6 * before.mean()
    assert last < first


def test_a_fresh_student_finds_all_tokens_nearly_alike(make, tokenizer):
    assert make().update(TEXTS) == pytest.approx(np.log(len(tokenizer)), rel=0.1)


def test_a_primed_student_knows_how_frequent_tokens_are_and_can_be_primed_anew(tokenizer):
    plain, primed, again = (
        MaskedStudent.new("tiny", tokenizer, width=16, layers=1, heads=2, length=32)
        for _ in range(3)
    )
    primed.init_output_bias(TEXTS)
    again.init_output_bias(OTHERS)
    again.init_output_bias(TEXTS, OTHERS)
    assert primed.losses(TEXTS).mean() < 0.8 * plain.losses(TEXTS).mean()
    assert again.losses(TEXTS) == pytest.approx(primed.losses(TEXTS), rel=1e-4)


def test_the_same_seed_gives_the_same_student_and_another_seed_another(make):
    ones = [make(seed=seed) for seed in (3, 3, 4)]
    for one in ones:
        one.update(TEXTS)
    losses = [one.losses(TEXTS).tolist() for one in ones]
    assert losses[0] == losses[1] != losses[2]


def test_losses_do_not_change_the_student(make):
    student = make()
    assert student.losses(TEXTS).tolist() == student.losses(TEXTS).tolist()
    assert student.tokens_seen == 0


def test_tokens_are_a_limit_and_are_counted(make):
    student = make(batch_tokens=64)
    student.update(TEXTS, 100)
    assert 100 <= student.tokens_seen < 164
    assert student.steps > 1


def test_what_has_nothing_to_predict_has_no_loss_and_teaches_nothing(make):
    student = make()
    assert np.isnan(student.losses([""])).all()
    assert np.isnan(student.update(["", ""]))
    assert np.isnan(student.update([]))
    assert student.tokens_seen == 0


def test_a_saved_student_is_read_again_and_goes_on_learning(make, tmp_path):
    student = make("first")
    student.update(TEXTS)
    student.save_pretrained(tmp_path / "second")
    again = type(student).from_pretrained(tmp_path / "second")
    assert (again.name, again.expert.parameters) == ("second", student.parameters)
    assert again.losses(TEXTS) == pytest.approx(student.losses(TEXTS), rel=1e-6)
    again.update(TEXTS)


def test_a_state_goes_on_as_if_nothing_had_happened(make, tmp_path):
    whole, part, later = make(), make(), make()
    for student in (whole, part):
        student.update(TEXTS)
    part.save_state(tmp_path)
    later.load_state(tmp_path)
    for student in (whole, later):
        student.update(TEXTS)
    assert later.losses(TEXTS).tolist() == whole.losses(TEXTS).tolist()
    assert later.tokens_seen == whole.tokens_seen


def test_the_state_of_another_student_is_refused(make, tmp_path):
    make("one").save_state(tmp_path)
    with pytest.raises(PersistenceError, match="'one', not of 'other'"):
        make("other").load_state(tmp_path)


def test_a_damaged_state_is_refused(make, tmp_path):
    with pytest.raises(PersistenceError, match="no state"):
        make().load_state(tmp_path)
    (tmp_path / "student.safetensors").write_bytes(b"cut")
    with pytest.raises(PersistenceError, match="no state"):
        make().load_state(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(MeasurementError, match="cannot be read"):
        MaskedStudent.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "sizes", [{"width": 0}, {"layers": 0}, {"length": -1}, {"width": 30, "heads": 4}]
)
def test_impossible_sizes_are_refused(sizes, tokenizer):
    with pytest.raises(InputError, match="expected at least 1"):
        MaskedStudent.new("tiny", tokenizer, **sizes)


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(InputError, match="size is 100"):
        train_tokenizer(TEXTS, 100)


def test_what_is_no_text_is_refused(make):
    with pytest.raises(InputError, match="must be a string"):
        make().update([3])


def test_bfloat16_learns_as_well(make):
    student, plain = make(bf16=True), make()
    before = student.losses(TEXTS).mean()
    assert student.update(TEXTS) != plain.update(TEXTS)
    for _ in range(19):
        student.update(TEXTS)
    assert student.losses(TEXTS).mean() < before
    assert all(weight.dtype.itemsize == 4 for weight in student.network.parameters())


def _interrupted(student, after):
    """Let someone press Ctrl-C while the student learns for the so-many-th time."""
    update, left = student.update, iter(range(after))

    def interrupt(*args, **settings):
        if next(left, None) is None:
            signal.raise_signal(signal.SIGINT)
        return update(*args, **settings)

    student.update = interrupt
    return student


def test_an_interrupted_training_goes_on_and_ends_like_a_whole_one(make, tmp_path):
    whole, kept, rest = (make(batch_tokens=128) for _ in range(3))
    train(whole, TEXTS, 3000, progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(
            _interrupted(make(batch_tokens=128), 2),
            TEXTS,
            3000,
            checkpoint=tmp_path,
            progress=False,
        )
    kept.load_state(tmp_path)
    assert kept.updates == 3  # that at hand is finished
    learn, updates = rest.update, []
    rest.update = lambda *args, **pace: updates.append(args) or learn(*args, **pace)
    train(rest, TEXTS, 3000, checkpoint=tmp_path, progress=False)
    assert len(updates) == whole.updates - 3
    assert rest.losses(TEXTS).tolist() == whole.losses(TEXTS).tolist()
    assert 3000 <= rest.tokens_seen == whole.tokens_seen


def test_a_finished_training_is_only_read(make, tmp_path):
    done, again = make(), make()
    train(done, TEXTS, 500, checkpoint=tmp_path, progress=False)
    train(_interrupted(again, 0), TEXTS, 500, checkpoint=tmp_path, progress=False)
    assert again.losses(TEXTS).tolist() == done.losses(TEXTS).tolist()


def test_a_checkpoint_of_something_else_is_refused(make, tmp_path):
    train(make(), TEXTS, 500, checkpoint=tmp_path, progress=False)
    with pytest.raises(PersistenceError, match="another student, texts or length"):
        train(make(), TEXTS[1:], 500, checkpoint=tmp_path, progress=False)


def test_a_damaged_note_in_the_checkpoint_is_refused(make, tmp_path):
    train(make(), TEXTS, 500, checkpoint=tmp_path, progress=False)
    (tmp_path / "goal.json").write_text("{")
    with pytest.raises(PersistenceError, match="damaged"):
        train(make(), TEXTS, 500, checkpoint=tmp_path, progress=False)


def test_training_on_nothing_is_refused(make):
    for texts, tokens in (([], 10), (TEXTS, 0), (["", ""], 10)):
        with pytest.raises(InputError, match=r"expected at least|nothing to predict"):
            train(make(), texts, tokens, progress=False)
