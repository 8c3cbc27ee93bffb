"""Students learn, save what they learned, and have the losses that scoring measures."""

import numpy as np
import pytest

from tryage.errors import InputError, MeasurementError, PersistenceError
from tryage.learning.cotraining.pretrain import train_tokenizer
from tryage.learning.cotraining.student import CausalStudent, MaskedStudent
from tryage.scoring.losses import CausalLM, MaskedLM
from tryage.scoring.measurement import Budget, Prompt

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


@pytest.mark.parametrize(("kind", "measurer"), KINDS)
def test_losses_are_those_that_scoring_measures_on_the_saved_folder(
    kind, measurer, tokenizer, tmp_path
):
    student = kind.new("tiny", tokenizer, width=16, layers=1, heads=2, length=32)
    student.update(TEXTS)
    student.save_pretrained(tmp_path)
    texts = [*TEXTS[:3], *OTHERS]
    prompts = [Prompt(text) for text in texts]
    measured = dict(measurer.from_pretrained(tmp_path).measure(prompts, Budget()))
    assert student.losses(texts) == pytest.approx(
        [measured[i].loss_per_char for i in range(len(texts))], rel=1e-6
    )


def test_learning_lowers_the_losses(make):
    student = make()
    before = student.losses(TEXTS)
    first = student.update(TEXTS)
    for _ in range(60):
        last = student.update(TEXTS)
    assert student.losses(TEXTS).mean() < 0.6 * before.mean()
    assert last < first


def test_to_a_new_student_all_tokens_are_almost_equally_likely(make, tokenizer):
    assert make().update(TEXTS) == pytest.approx(np.log(len(tokenizer)), rel=0.1)


def test_an_initial_output_bias_lowers_losses_and_can_be_replaced(tokenizer):
    plain, biased, again = (
        MaskedStudent.new("tiny", tokenizer, width=16, layers=1, heads=2, length=32)
        for _ in range(3)
    )
    biased.init_output_bias(TEXTS)
    again.init_output_bias(OTHERS)
    again.init_output_bias(TEXTS, OTHERS)
    assert biased.losses(TEXTS).mean() < 0.8 * plain.losses(TEXTS).mean()
    assert again.losses(TEXTS) == pytest.approx(biased.losses(TEXTS), rel=1e-4)


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


def test_an_update_stops_at_a_limit_of_tokens(make):
    student = make(batch_tokens=64)
    student.update(TEXTS, 100)
    assert 100 <= student.tokens_seen < 164
    assert student.steps > 1


def test_an_empty_text_has_no_loss_and_changes_nothing(make):
    student = make()
    assert np.isnan(student.losses([""])).all()
    assert np.isnan(student.update(["", ""]))
    assert np.isnan(student.update([]))
    assert student.tokens_seen == 0


def test_a_saved_student_can_be_loaded_and_trained(make, tmp_path):
    student = make("first")
    student.update(TEXTS)
    student.save_pretrained(tmp_path / "second")
    again = type(student).from_pretrained(tmp_path / "second")
    assert (again.name, again.expert.parameters) == ("second", student.parameters)
    assert again.losses(TEXTS) == pytest.approx(student.losses(TEXTS), rel=1e-6)
    again.update(TEXTS)


def test_a_restored_state_learns_as_the_original_does(make, tmp_path):
    whole, saved, restored = make(), make(), make()
    for student in (whole, saved):
        student.update(TEXTS)
    saved.save_state(tmp_path)
    restored.load_state(tmp_path)
    for student in (whole, restored):
        student.update(TEXTS)
    assert restored.losses(TEXTS).tolist() == whole.losses(TEXTS).tolist()
    assert restored.tokens_seen == whole.tokens_seen


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


def test_texts_that_are_not_strings_are_refused(make):
    with pytest.raises(InputError, match="must be a string"):
        make().update([3])


def test_training_in_bfloat16_lowers_the_losses_too(make):
    student, plain = make(bf16=True), make()
    before = student.losses(TEXTS).mean()
    assert student.update(TEXTS) != plain.update(TEXTS)
    for _ in range(19):
        student.update(TEXTS)
    assert student.losses(TEXTS).mean() < before
    assert all(weight.dtype.itemsize == 4 for weight in student.network.parameters())
