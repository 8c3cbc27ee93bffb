"""Feedback that callers of the server give."""

from __future__ import annotations

import httpx
import pytest

HELLO = [{"role": "user", "content": "large, please say hello"}]


@pytest.fixture
def chat(make_chat, models, tmp_path):
    pytest.importorskip("sqlalchemy")
    return make_chat(models, traffic=f"sqlite:///{tmp_path}/traffic.db")


def log_of(chat):
    return chat._chat_router.router.traffic


def ask(url):
    answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO}).json()
    return answer["id"], answer["tryage"]["id"]


def test_feedback_about_an_answer_is_stored_once(url, chat):
    completion, decision = ask(url)
    body = {"id": completion, "score": 0.0, "comment": "wrong", "feedback_id": "f1"}
    assert httpx.post(f"{url}/v1/feedback", json=body).json() == {"is_new": True}
    body["id"] = decision
    assert httpx.post(f"{url}/v1/feedback", json=body).json() == {"is_new": False}
    assert log_of(chat).flush()
    ((_, _, (stored,)),) = log_of(chat).decisions()
    assert (stored.decision_id, stored.score, stored.comment) == (decision, 0.0, "wrong")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"score": 2}, 400, "score: Input should be less than or equal to 1"),
        ({"colour": 1}, 400, "colour: Extra inputs are not permitted"),
        ({"expert": "smal"}, 404, "smal"),
    ],
)
def test_malformed_feedback_is_told_what_is_wrong(url, change, status, said):
    answer = httpx.post(f"{url}/v1/feedback", json={"id": "1", "score": 1, **change})
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_feedback_without_a_log_is_a_bad_request(start_server, make_chat, models):
    url = start_server(make_chat(models))
    answer = httpx.post(f"{url}/v1/feedback", json={"id": "1", "score": 1})
    assert answer.status_code == 400
    assert "traffic" in answer.json()["error"]["message"]
