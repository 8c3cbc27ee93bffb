"""The files by which the processes of a soak know when it starts, and its settings in TOML."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from soak_faults import MODELS

if TYPE_CHECKING:
    from pathlib import Path

POLICY_TABLES = {
    "plain": "",
    "budget": '[[policies]]\nkind = "Budget"\nusd_per_day = 0.5\nby = "user"\n',
    "cascade": (
        '[[policies]]\nkind = "Cascade"\n'
        f'steps = ["{MODELS[2]}", "{MODELS[0]}", "{MODELS[3]}"]\n'
        'verify = {kind = "Agreement", samples = 2}\nanswer_value = 0.05\n'
    ),
}

# The last two clients ask again by themselves, as langchain-openai does unless told otherwise.
_CLIENT_SETTINGS = {
    "openai": dict.fromkeys(MODELS[:2], "{timeout = 15, max_retries = 0}")
    | dict.fromkeys(MODELS[2:], "{timeout = 15, max_retries = 1}"),
    "ollama": dict.fromkeys(MODELS, "{request_timeout = 15, context_window = 32000}"),
}

DATABASE_VARIABLE = "TRYAGE_DATABASE"
"""The variable that holds the URL of the log: no file may hold a password."""

BROKEN = '[preferences]\npreset = "cheapest"\n'


def write_whole(path: Path, text: str) -> None:
    """Write a file that another process waits for."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text)
    partial.replace(path)


def wait_for(path: Path, seconds: float = 300.0) -> str:
    """Return what a file holds when it is there.

    Raises:
        TimeoutError: it does not come.
    """
    ends = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > ends:
            raise TimeoutError(f"{path} has not been written within {seconds:g} seconds.")
        time.sleep(0.05)
    return path.read_text()


def wait_for_start(folder: Path) -> float:
    """Return the time at which the soak starts, in seconds since 1970."""
    return float(wait_for(folder / "start"))


def read_start(folder: Path) -> float:
    """Return the time at which the soak starts; now, as long as nobody has said it."""
    path = folder / "start"
    return float(path.read_text()) if path.exists() else time.time()


def settings_text(
    provider: str, port: int, policy: str = "plain", *, is_changed: bool = False
) -> str:
    """Return the settings of one client: TOML over the fake models.

    Args:
        provider: "openai" or "ollama": whose protocol the models speak.
        port: Where they listen.
        policy: A key of `POLICY_TABLES`.
        is_changed: Whether these are the other settings, which a reload brings in force.
    """
    address = f"http://127.0.0.1:{port}{'/v1' if provider == 'openai' else ''}"
    models = "".join(
        f'[[models]]\nname = "{name}"\nmodel = "{provider}:{name}"\nbase_url = "{address}"\n'
        f"settings = {_CLIENT_SETTINGS[provider][name]}\n"
        for name in MODELS
    )
    preferences = "answer_value = 0.02" if is_changed else 'preset = "balanced"'
    return (
        f"{models}[preferences]\n{preferences}\n{POLICY_TABLES[policy]}"
        f'[traffic]\nurl = "${{{DATABASE_VARIABLE}}}"\n'
        f"[chat]\ndeadline = {9 if is_changed else 8}\nattempt_timeout = 3\n"
        'retry_on = ["empty"]\n'
    )


def settings_files(port: int, *, is_changed: bool = False) -> dict[str, str]:
    """Return the settings of all processes, by the names of their files."""
    files = {
        f"{path}.{policy}.toml": settings_text(provider, port, policy, is_changed=is_changed)
        for path, provider in (("langchain", "openai"), ("llamaindex", "ollama"))
        for policy in POLICY_TABLES
    }
    text = settings_text("openai", port, "budget", is_changed=is_changed)
    return {**files, "server.toml": f"{text}[server]\ndeadline = 8\n"}
