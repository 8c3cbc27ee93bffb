"""A real Prometheus reads the server; the dashboard and the alerts find everything in it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tryage import Expert, Router
from tryage.telemetry.observer import TELEMETRY
from tryage.testing import FunctionPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "observability"


def program(name):
    """Return where a program is: installed, or unpacked by `.ci/debian`."""
    found = shutil.which(name) or shutil.which(name, path=ROOT / ".debian" / "usr" / "bin")
    if found is None:
        pytest.skip(f"{name} is missing: .ci/debian prometheus gets it")
    return found


def panels():
    return json.loads((FOLDER / "grafana.json").read_text("utf-8"))["panels"]


def queries():
    """Return every query of the dashboard by the title of its panel, for one minute of data."""
    values = {"$__rate_interval": "1m", "$job": ".+"}
    found = {}
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in values.items():
                text = text.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = text
    return found


def alert_metrics():
    """Return the metrics that the alerts are about, by their names."""
    text = (FOLDER / "alerts.yml").read_text("utf-8")
    return {name: name for name in re.findall(r"\btryage_\w+(?=[{[)])", text)}


@pytest.fixture
def prometheus(tmp_path):
    """Start Prometheus for one target; return what asks it."""
    running = []

    def start(target):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        config = {
            "scrape_configs": [
                {
                    "job_name": "tryage",
                    "scrape_interval": "1s",
                    "static_configs": [{"targets": [target]}],
                }
            ]
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            program("prometheus"),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        running.append(subprocess.Popen(command))  # noqa: S603 - the program that was found

        def ask(query):
            try:
                url = f"http://127.0.0.1:{port}/api/v1/query"
                answer = httpx.get(url, params={"query": query})
            except httpx.TransportError:  # it starts
                return []
            if answer.status_code == 503:  # it still starts
                return []
            assert answer.status_code == 200, (query, answer.text)
            return answer.json()["data"]["result"]

        return ask

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


class Typical(FunctionPerception):
    """Knows which prompts are typical, and so which model is the best single one."""

    def typical_prompts(self):
        return ("Hello",)


@pytest.fixture
def models():
    return {name: ScriptedChatModel(model=name) for name in ("small", "large")}


@pytest.fixture
def chat(models):
    perception = Typical(("small", "large"), lambda prompt: [float("hard" in prompt), 0.5])
    experts = [
        Expert("small", input_price=1, output_price=2),
        Expert("large", input_price=10, output_price=20),
    ]
    return ChatTryage(models=models, router=Router(perception, experts, preferences="best"))


@pytest.mark.usefixtures("counted")
def test_every_query_of_the_dashboard_finds_data_in_prometheus(
    start_server, chat, models, prometheus
):
    url = start_server(chat, metrics=True)
    ask = prometheus(url.removeprefix("http://"))
    deadline = time.monotonic() + 60
    while not ask("count_over_time(tryage_fallbacks_total[1m]) > 2"):
        assert time.monotonic() < deadline, "Prometheus has read nothing"
        produce_everything(url, chat, models)
        time.sleep(0.5)
    found = {**queries(), **alert_metrics()}
    assert [name for name, query in found.items() if not ask(query)] == []
    (call,) = ask('sum(tryage_calls_total{gen_ai_response_model="small"})')
    assert float(call["value"][1]) > 0


def produce_everything(url, chat, models):
    """Let the server answer and a model fail: all that the dashboard shows happens once."""
    for stream in (False, True):
        body = {"model": "tryage", "messages": [{"role": "user", "content": "easy"}]}
        httpx.post(f"{url}/v1/chat/completions", json={**body, "stream": stream}).raise_for_status()
    models["large"].fails = [ConnectionError()]
    httpx.post(
        f"{url}/v1/chat/completions",
        json={"model": "tryage", "messages": [{"role": "user", "content": "hard"}]},
    ).raise_for_status()
    for model in models.values():
        model.fails = [ValueError()]
    with pytest.raises(ValueError, match=r"^$"):
        chat.invoke("easy")
    for model in models.values():
        model.fails = []
    next(chat.stream("easy"))  # its tokens stay unknown
    TELEMETRY.observer.alarm("drift", "small", "worse")


def test_prometheus_accepts_the_configuration_and_the_alerts(tmp_path):
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "tryage-server-key").touch()
    command = [program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    assert done.returncode == 0, done.stderr


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_a_unit():
    taken = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        taken |= cells
