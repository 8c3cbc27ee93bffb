"""The command opens the playground with models and files, and says where it is."""

from __future__ import annotations

import socket
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from tryage.cli import app

pytest.importorskip("fastapi")


def run(*arguments):
    return CliRunner().invoke(app, ["playground", *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--table", "nothing.csv"], "nothing.csv cannot be read"),
        (["--traffic", "nothing.db"], "There is no file nothing.db"),
        (["--traffic", "postgresql://me:secret@host/db"], "only a file of SQLite"),
        (["--router", "/nothing"], "/nothing"),
    ],
)
def test_what_cannot_be_opened_is_told_before_it_listens(arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "secret" not in done.output


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert "Take another --port" in done.output


def test_the_command_tells_the_address_and_serves_the_page():
    command = [sys.executable, "-m", "tryage", "playground", "gpt-5.4", "gpt-5.5", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            address = process.stdout.readline().split()[4]
            page = httpx.get(address).text
        finally:
            process.terminate()
    assert address.startswith("http://127.0.0.1:")
    assert page.count('name="model" value="gpt-5') == 2
