"""What a stranger reads about a wrong file."""

from __future__ import annotations

import pytest

KEY = "sk-abcdefghijklmnopqrstuvwx123456"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("polices = 1", "1 polices: there is no such key. Did you mean policies?"),
        (
            "answer_value = 1",
            "1 answer_value: there is no such key here; it belongs into [preferences].",
        ),
        (
            '[[models]]\nname = "a"\ninput_price = "1.25"',
            '3 models[0].input_price: got "1.25"; expected a number. Write it without quotes.',
        ),
        (
            "[[models]]\nname = 3",
            '2 models[0].name: got 3; expected a text in quotes, such as "name". '
            "Write it in quotes.",
        ),
        (
            '[[models]]\nname = "a"\nefforts = "low"',
            '3 models[0].efforts: got "low"; expected an array, such as [1, 2]. Write ["low"].',
        ),
        (
            '[models]\nname = "a"',
            "1 models: got a table with name; expected an array of tables: write [[models]] with "
            "two pairs of brackets.",
        ),
        (
            "[[router]]",
            "1 router: got an array of 1; expected a table: write [router] with one pair of "
            "brackets.",
        ),
        (
            '[chat]\nsticky = "turns"',
            '2 chat.sticky: got "turns"; expected one of "turn", "thread", "call". '
            "Did you mean turn?",
        ),
        ("[chat]\ndeadline = 0", "2 chat.deadline: got 0; expected greater than 0."),
        (
            "[traffic]\ntimeout = 1",
            "1 traffic.url: it is missing. Write url = ... into this table.",
        ),
        (
            '[[rules]]\nban = "a"\nlaguage = "de"',
            "3 rules[0].laguage: there is no such key. Did you mean language?",
        ),
        ("[[policies]]\nusd_per_day = 1", "1 policies[0]: it has no kind; write kind ="),
        ('[[policies]]\nkind = "Budgt"', '1 policies[0]: kind is "Budgt"; expected "Budget", '),
        (
            '[[policies]]\nkind = "Budget"\nusd = 1',
            "3 policies[0].usd: there is no such key.",
        ),
        (
            "[preferences]\nweights = {sise = 1}",
            "2 preferences.weights: 'sise' is not a constraint; expected one of cost, ",
        ),
        (
            '[[models]]\nname = "a"\nefforts = ["lo"]',
            '3 models[0].efforts[0]: got "lo"; expected one of "none", "minimal", "low", ',
        ),
        (
            '[[policies]]\nkind = "Cascade"\nsteps = ["a", "b"]\nverify = "Agreement"',
            '4 policies[0].verify: got "Agreement"; expected a table, such as verify = {kind = ',
        ),
        (
            "[tool.tryage.router]",
            "1 tool: tables have no prefix here: write [router] for [tool.tryage.router].",
        ),
        (
            '[preferences]\nrequirements = [{field = "a", op = "<", value = 1, x = 2}]',
            "2 preferences.requirements[0].x: there is no such key. Expected field, op, value, ",
        ),
    ],
)
def test_a_problem_has_its_line_the_key_what_was_given_and_what_to_do(problems, text, expected):
    (found, *_) = problems(text)
    assert found.startswith(expected)


def test_an_error_of_syntax_has_its_line(problems):
    (found,) = problems('a = 1\n[[models]\nname = "a"\n')
    assert found.startswith("2 : the file is not TOML")


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{KEY}"',
        f'apikey = "{KEY}"',
        f'settings = {{api_key = "{KEY}"}}',
        f'settings = {{openai_api_token = "{KEY}"}}',
        f'base_url = "https://user:{KEY}@example.org/v1"',
        f'input_price = "{KEY}"',
        f'nmae = "{KEY}"',
    ],
)
def test_no_message_shows_a_credential(problems, line):
    text = "\n".join(problems(f'[[models]]\nname = "a"\n{line}\n'))
    assert text
    assert KEY not in text


def test_a_credential_is_refused_with_the_word_that_names_a_variable(problems):
    (found,) = problems(f'[[models]]\nmodel = "openai:gpt-5.6"\napi_key = "{KEY}"\n')
    assert found.startswith("3 models[0].api_key: this looks like a credential")
    assert "api_key_env" in found


def test_the_password_of_a_database_is_refused(problems):
    (found,) = problems('[traffic]\nurl = "postgresql://ann:hunter22@db/tryage"\n')
    assert found.startswith("2 traffic.url: this looks like a credential")
    assert "hunter22" not in found
    assert "${TRYAGE_DATABASE}" in found
