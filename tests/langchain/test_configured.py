"""ChatTryage and TryageMiddleware of a file of settings, and their clients."""

from __future__ import annotations

import copy
import pickle
import sys
import threading

import pytest

pytest.importorskip("watchfiles")

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from tryage.errors import ConfigError
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

CLIENTS = """
from tryage_langchain.testing import ScriptedChatModel

small = ScriptedChatModel(model="gpt-5.4-nano")
big = ScriptedChatModel(model="gpt-5.4")

def judge(question, answer):
    return 1.0
"""

PROMPT = "Prove that there are infinitely many primes."


def text(only="small", more=""):
    tables = "".join(
        f'[[models]]\nname = "{name}"\nclient = "tryage_test_clients:{name}"\n'
        'about_as_good_as = "gpt-5.4"\ninput_price = 1\noutput_price = 2\n'
        for name in ("small", "big")
    )
    return f'{tables}[preferences]\nonly = ["{only}"]\n{more}'


@pytest.fixture
def path(tmp_path):
    (tmp_path / "tryage_test_clients.py").write_text(CLIENTS)
    file = tmp_path / "tryage.toml"
    file.write_text(text())
    yield file
    sys.modules.pop("tryage_test_clients", None)


@pytest.fixture
def chat(path):
    made = ChatTryage.from_config(path, watch=True)
    yield made
    made.close()


def answered_by(answer):
    return answer.response_metadata["tryage"]["model"]


def test_all_tables_reach_the_chat_model(path):
    more = """
[router]
default = "big"
[chat]
sticky = "thread"
deadline = 30
retry_on = ["empty"]
signals = ["error"]
judge_share = 0.1
[[policies]]
kind = "Hedge"
seconds = 5
"""
    path.write_text(text(more=more))
    chat = ChatTryage.from_config(path)
    assert list(chat.models) == ["small", "big"]
    assert (chat.sticky, chat.deadline, chat.default) == ("thread", 30.0, "big")
    assert chat.retry_on == {"empty"}
    assert chat.signals == {"error"}
    assert chat.policy.name == "Hedge"
    assert answered_by(chat.invoke(PROMPT)) == "small"


def test_a_judge_is_found_by_its_name(path):
    pytest.importorskip("sqlalchemy")
    path.write_text(
        text(
            more='[chat]\njudge = "tryage_test_clients:judge"\n[traffic]\nurl = "sqlite:///x.db"\n'
        )
    )
    assert ChatTryage.from_config(path).judge("question", "answer") == 1.0


def test_a_model_with_settings_gets_its_key_from_the_named_variable(path, monkeypatch):
    pytest.importorskip("langchain_openai")
    pytest.importorskip("langchain.chat_models")
    path.write_text(
        '[[models]]\nmodel = "openai:gpt-5.4"\napi_key_env = "OWN_KEY"\nefforts = ["low", "high"]\n'
        'base_url = "http://${OWN_HOST}/v1"\nsettings = {max_retries = 7}\n'
    )
    monkeypatch.setenv("OWN_HOST", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"tryage\.toml:1: models\[0\]: .*OWN_KEY: set it"):
        ChatTryage.from_config(path)
    monkeypatch.setenv("OWN_KEY", "a-key-of-a-test")
    chat = ChatTryage.from_config(path)
    assert list(chat._clients) == ["openai:gpt-5.4@low", "openai:gpt-5.4@high"]
    client = chat._clients.get_client("openai:gpt-5.4@low")
    assert client.openai_api_key.get_secret_value() == "a-key-of-a-test"
    assert client.openai_api_base == "http://127.0.0.1:9/v1"
    assert (client.max_retries, client.reasoning_effort) == (7, "low")


def test_a_string_alone_is_made_when_it_is_first_chosen(path):
    path.write_text('[[models]]\nmodel = "openai:gpt-5.4"\n')
    assert not ChatTryage.from_config(path)._clients.is_built("openai:gpt-5.4")


@pytest.mark.parametrize(
    ("tables", "line", "message"),
    [
        ('[[models]]\nname = "a"\n', 1, "a name alone cannot be asked"),
        ('[[models]]\nclient = "tryage_test_clients:none"\n', 1, "cannot be imported"),
        ("[router]\nstrict = true\n", None, "there are no models to ask"),
        (text(more="[chat]\nsticky = 3\n"), 16, "expected one of"),
    ],
)
def test_what_cannot_be_asked_is_told_with_its_line(path, tables, line, message):
    path.write_text(tables)
    with pytest.raises(ConfigError) as caught:
        ChatTryage.from_config(path)
    (problem,) = caught.value.problems
    assert (problem.line, message in problem.message) == (line, True)


# A file that changes


def change(chat, path, content):
    path.write_text(content)
    assert chat._watch.reload()


def test_the_next_call_is_of_the_new_settings(chat, path):
    bound = chat.bind(stop=["x"])
    assert answered_by(chat.invoke(PROMPT)) == "small"
    change(chat, path, text("big"))
    assert answered_by(chat.invoke(PROMPT)) == "big"
    assert answered_by(bound.invoke(PROMPT)) == "big"
    assert answered_by(chat.batch([PROMPT])[0]) == "big"
    assert "gpt-5.4 " in "".join(str(chunk.text) for chunk in chat.stream(PROMPT))
    assert chat.route(PROMPT).first == "big"


async def test_async_calls_are_of_the_new_settings(chat, path):
    change(chat, path, text("big"))
    assert answered_by(await chat.ainvoke(PROMPT)) == "big"


def test_a_turn_stays_with_its_model_while_the_new_settings_allow_it(chat, path):
    more = '[chat]\nsticky = "thread"\n'
    tables = text(more=more).replace('only = ["small"]', "answer_value = 1e-6")
    change(chat, path, tables)
    config = {"configurable": {"thread_id": "t"}}
    first = answered_by(chat.invoke(PROMPT, config))
    messages = [HumanMessage(PROMPT), AIMessage("yes"), HumanMessage("and then?")]
    other = "big" if first == "small" else "small"
    client = f'"tryage_test_clients:{first}"\nabout_as_good_as = "gpt-5.4"\ninput_price = '
    dear = tables.replace(f"{client}1\n", f"{client}1000\n")
    assert dear != tables
    change(chat, path, dear)
    assert answered_by(chat.invoke(messages, config)) == first
    assert answered_by(chat.invoke("Another conversation?")) == other
    change(chat, path, text(other, more))
    assert answered_by(chat.invoke(messages, config)) == other
    assert answered_by(chat.invoke(PROMPT, config)) == other


def test_a_conversation_whose_model_is_gone_goes_to_another(chat, path):
    more = 'weights = {switching = 0.1}\n[chat]\nsticky = "thread"\n'
    change(chat, path, text(more=more))
    config = {"configurable": {"thread_id": "t"}}
    chat.invoke(PROMPT, config)
    without = text("big", more).replace('name = "small"', 'name = "other"')
    change(chat, path, without)
    messages = [HumanMessage(PROMPT), AIMessage("yes"), HumanMessage("and then?")]
    assert answered_by(chat.invoke(messages, config)) == "big"
    call = {"name": "f", "args": {}, "id": "1"}
    loop = [
        HumanMessage(PROMPT),
        AIMessage("", tool_calls=[call]),
        ToolMessage("x", tool_call_id="1"),
    ]
    assert answered_by(chat.invoke(loop, config)) == "big"


def test_savings_and_clients_stay(chat, path):
    chat.invoke(PROMPT)
    client = chat._live._clients.get_client("small")
    change(chat, path, text("big"))
    chat.invoke(PROMPT)
    assert chat.savings().answers == 2
    assert chat._live._clients.get_client("small") is client


def test_copies_and_pickles_are_of_the_settings_of_now(chat, path):
    change(chat, path, text("big"))
    copies = (
        copy.deepcopy(chat),
        chat.model_copy(update={"deadline": 9.0}),
        pickle.loads(pickle.dumps(chat)),  # noqa: S301 - our own
    )
    change(chat, path, text("small"))
    assert {answered_by(one.invoke(PROMPT)) for one in copies} == {"big"}
    assert answered_by(chat.model_copy().invoke(PROMPT)) == "small"


def test_calls_of_threads_are_of_whole_settings_while_the_file_changes(chat, path):
    wrong, is_over = [], threading.Event()

    def ask():
        while not is_over.is_set():
            try:
                answered_by(chat.invoke(PROMPT))
            except Exception as error:  # noqa: PERF203, BLE001 - any error is a failure of the test
                wrong.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(12):
        change(chat, path, text("big" if i % 2 else "small"))
    is_over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert answered_by(chat.invoke(PROMPT)) == "big"


def test_a_middleware_has_the_models_and_preferences_of_the_file(path):
    pytest.importorskip("langchain.agents")
    from langchain.agents import create_agent

    from tryage_langchain import TryageMiddleware

    path.write_text(text("big"))
    middleware = TryageMiddleware.from_config(path, sticky="call")
    agent = create_agent(ScriptedChatModel(model="own"), middleware=[middleware])
    result = agent.invoke({"messages": [HumanMessage(PROMPT)]})
    assert result["tryage"]["served_by"] == "big"
