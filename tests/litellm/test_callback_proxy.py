"""LiteLLM's real proxy, with TryageCallback in it, and in front of `tryage serve`."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import openai
import pytest
import yaml

pytestmark = pytest.mark.slow

PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "litellm.md").read_text("utf-8")

RULE = """
from tryage import Router
from tryage.testing import FunctionPerception
from tryage_litellm import TryageCallback

NAMES = ["openai/small", "openai/large"]

def losses(prompt):
    return [1.0, 0.0] if "hard" in prompt else [0.0, 1.0]

by_rule = TryageCallback(
    groups=["rule"],
    router=Router(FunctionPerception(NAMES, losses)),
    traffic="sqlite:///DATABASE",
)
"""


def blocks_of_page(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def deployment(group, model, url, **info):
    parameters = {"model": f"openai/{model}", "api_base": url, "api_key": "none"}
    return {"model_name": group, "litellm_params": parameters, "model_info": info}


@pytest.fixture(scope="module")
def server():
    """`tryage serve` over two scripted models, run by uvicorn in a thread; its address."""
    pytest.importorskip("fastapi")
    import uvicorn

    from tryage import Router
    from tryage.testing import FunctionPerception
    from tryage_langchain import ChatTryage
    from tryage_langchain.testing import ScriptedChatModel
    from tryage_server import create_app

    names = ["small", "large"]
    router = Router(FunctionPerception(names, lambda prompt: [float("large" in prompt), 0.5]))
    scripted = {name: ScriptedChatModel(model=name) for name in names}
    app = create_app(ChatTryage.from_models(scripted, router=router))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        running.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return tmp_path_factory.mktemp("traffic") / "traffic.db"


@pytest.fixture(scope="module")
def url(start_proxy, models, server, database):
    config, served = (yaml.safe_load(block) for block in blocks_of_page("yaml"))
    config["model_list"] += served["model_list"]
    for one in config["model_list"]:
        is_served = one["model_name"] == "tryage"
        one["litellm_params"]["api_base"] = server if is_served else models.url
        one["litellm_params"]["api_key"] = "none"
    config["model_list"] += [
        deployment("rule", "small", models.url, **PRICES),
        deployment("rule", "large", models.url),
    ]  # fmt: skip
    config["litellm_settings"]["callbacks"].append("rule.by_rule")
    config["router_settings"]["fallbacks"].append({"rule": ["spare"]})
    config["router_settings"]["retry_after"] = 0
    (routing,) = blocks_of_page("py")
    return start_proxy(config, routing=routing, rule=RULE.replace("DATABASE", str(database)))


@pytest.fixture
def client(url, proxy_key):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=proxy_key, max_retries=0) as made:
        yield made


def ask(client, text, model="rule", **settings):
    return client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": text}], **settings
    )


def test_the_page_about_litellm_keeps_its_word(client, models):
    answer = ask(client, "Translate to French: good morning", model="auto")
    name = answer.headers["x-tryage-model"]
    assert name in ("openai/gpt-5.6", "openai/gpt-5.6-luna", "anthropic/claude-opus-5")
    assert models.asked == [name.partition("/")[2]]
    assert float(answer.headers["x-tryage-expected-cost"]) > 0


@pytest.mark.parametrize(("text", "expected"), [("easy", "small"), ("hard", "large")])
def test_each_request_goes_to_its_model_and_headers_tell_why(client, models, text, expected):
    answer = ask(client, text)
    assert answer.parse().choices[0].message.content == f"Hello from {expected}"
    assert models.asked == [expected]
    assert answer.headers["x-tryage-model"] == f"openai/{expected}"
    assert answer.headers["x-tryage-reason"] == "lowest total of 2"
    assert answer.headers["x-tryage-id"]


def test_a_stream_comes_from_the_right_model(client, models):
    answer = ask(client, "hard", stream=True)
    parts = [chunk.choices[0].delta.content or "" for chunk in answer.parse() if chunk.choices]
    assert "".join(parts) == "Hello from large"
    assert answer.headers["x-tryage-model"] == "openai/large"
    assert models.asked == ["large"]


def test_tools_are_passed_on(client, models):
    message = ask(client, "hard", tools=[WEATHER]).parse().choices[0].message
    assert message.tool_calls[0].function.name == "weather"
    assert models.bodies[0]["tools"][0]["function"]["name"] == "weather"


def test_the_next_best_model_answers_where_the_best_is_down(client, models):
    models.down.add("large")
    answer = ask(client, "hard")
    assert models.asked == ["large", "small"]
    assert answer.headers["x-tryage-model"] == "openai/small"
    assert answer.headers["x-tryage-reason"] == "openai/large failed"


def test_litellms_fallback_answers_where_all_models_of_the_group_are_down(client, models):
    models.down.update(["large", "small"])
    answer = ask(client, "hard")
    assert answer.parse().choices[0].message.content == "Hello from gpt-5.4-mini"
    assert models.asked[:2] == ["large", "small"]
    assert "x-tryage-model" not in answer.headers


def test_the_preferences_of_a_request_are_followed(client, models):
    only = {"requirements": [{"field": "name", "op": "in", "value": ["openai/small"]}]}
    ask(client, "hard", extra_body={"metadata": {"tryage_preferences": only}})
    assert models.asked == ["small"]


def test_a_group_of_one_model_is_left_alone(client):
    answer = ask(client, "hard", model="spare")
    assert "x-tryage-model" not in answer.headers


def test_answers_stand_in_the_log_with_what_they_cost(client, database):
    decision = ask(client, "easy").headers["x-tryage-id"]
    rows, end = [], time.monotonic() + 20
    query = "SELECT served_by, content FROM tryage_outcomes WHERE decision_id = ?"
    while not rows and time.monotonic() < end:
        time.sleep(0.2)  # the answer is logged after it is sent
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(query, (decision,)).fetchall()
    ((served_by, content),) = rows
    assert served_by == "openai/small"
    assert json.loads(content)["cost"] == pytest.approx(15e-6)  # 15 tokens at $1 per million


# The proxy in front of `tryage serve` ----------------------------------------------------------


def test_the_proxy_asks_tryage_serve_as_a_model_of_openai(client):
    answer = ask(client, "large, please", model="tryage").parse()
    assert answer.choices[0].message.content == "Hello from large today"
    assert answer.usage.total_tokens == 15


def test_streams_and_tools_of_tryage_serve_pass_the_proxy(client):
    chunks = ask(client, "large, please", model="tryage", stream=True).parse()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello from large today"
    message = ask(client, "large", model="tryage", tools=[WEATHER]).parse().choices[0].message
    assert message.tool_calls[0].function.name == "weather"
