"""The output of the demo: one terminal page, in the order of the steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prepare import Demo
    from today import Choice, Replay
    from worth import Policy

    from tryage import Decision

CONSOLE = Console(highlight=False, width=100)
ABOUT = {
    "SmolLM2-135M-Instruct": "causal, chat",
    "rxnmapper-albert": "masked, reactions",
    "antiberty": "masked, antibody",
    "textgenrnn-titles": "LSTM, titles",
}


def heading(number: int, text: str) -> None:
    """Start a section of the page."""
    CONSOLE.print()
    CONSOLE.print(Rule(f"[bold]{number}. {text}[/]", align="left", style="dim"))


def note(text: str) -> None:
    """Add a remark in dim text."""
    CONSOLE.print(f"[dim]{text}[/]")


def show_models(demo: Demo) -> None:
    """Show the experts and their mean loss on each kind of prompt."""
    kinds = list(dict.fromkeys(demo.train.categories or ()))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("expert", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("size", *kinds):
        table.add_column(column, justify="right")
    column_of = {name: i for i, name in enumerate(demo.train.experts)}
    categories = np.array(demo.train.categories)
    means = np.array([demo.train.losses[categories == kind].mean(axis=0) for kind in kinds])
    best = means.argmin(axis=1)
    for model in demo.models:
        name, parameters = model.expert.name, model.expert.parameters
        column = column_of[name]
        values = means[:, column]
        cells = [
            f"[bold green]{values[row]:.2f}[/]" if best[row] == column else f"{values[row]:.2f}"
            for row in range(len(kinds))
        ]
        table.add_row(name, ABOUT[name], f"{parameters / 1e6:.1f}M", *cells)
    CONSOLE.print(table)
    note(
        f"Measured losses in bits per byte on {len(demo.train)} training prompts; "
        "8 is no better than raw bytes.\nA masked model sees both sides of a token, "
        "so its figure flatters it against a causal one."
    )


def show_prompt(number: int, prompt: str) -> None:
    """Show the prompt."""
    CONSOLE.print()
    CONSOLE.print(f"[bold]{number}  {escape(prompt)}[/]")


def show_decision(decision: dict[str, Any], unflagged: Decision | None) -> None:
    """Show the chosen expert and the reason in two or three lines, from the logged decision."""
    first, second = decision["ranking"][:2]
    confidence = decision["confidence"]
    probability = "" if confidence is None else f"; better with probability {confidence:.0%}"
    CONSOLE.print(
        f"   [bold cyan]→ {first['name']}[/]  predicted loss {first['predicted_loss']:.2f} "
        f"± {first['std']:.2f}{_terms(first)}"
    )
    note(
        f"     next: {second['name']} {second['predicted_loss']:.2f}{_terms(second)}, "
        f"{decision['margin']:.2f} behind{probability}"
    )
    if unflagged is None:
        return
    before = unflagged.expert.name
    is_same = before == first["name"]
    effect = f"the choice stays: {before}" if is_same else f"without the flag: {before}"
    flags = escape(f"[Flag: {', '.join(decision['flags'])}]")
    CONSOLE.print(f"     [yellow]{flags}[/] {effect}")


def _terms(ranked: dict[str, Any]) -> str:
    if not ranked["terms"]:
        return ""
    added = "".join(f" + {name} {term:.2f}" for name, term in ranked["terms"].items())
    return f"{added} = {ranked['total']:.2f}"


def show_answer(pieces: Iterable[str]) -> None:
    """Show the answer while it arrives, indented and with line breaks between words."""
    column = 0
    for word in _words(pieces):
        line = word.rstrip("\n")
        if column and column + len(line) > CONSOLE.width - 6:
            CONSOLE.print()
            column, line = 0, line.lstrip()
        CONSOLE.print(escape(line if column else f"   {line}"), end="", soft_wrap=True)
        column += len(line)
        if word.endswith("\n"):
            CONSOLE.print()
            column = 0
    CONSOLE.print()


def _words(pieces: Iterable[str]) -> Iterator[str]:
    """Split a stream before blanks and after line ends; leading line ends are dropped."""
    rest, started = "", False
    for piece in pieces:
        rest += piece if started else piece.lstrip("\n")
        started = started or bool(rest)
        *words, rest = re.split(r"(?<=\n)|(?<=\S)(?= )", rest)
        yield from words
    yield rest


def show_worth(policies: Sequence[Policy], n_prompts: int) -> None:
    """Show the value of routing on held-out prompts."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("answered by")
    for column in ("bits per byte", "right choice", "parameters used", "seconds to read"):
        table.add_column(column, justify="right")
    for policy in policies:
        style = "bold green" if policy.routed else ""
        table.add_row(
            policy.name,
            f"{policy.loss:.2f}",
            f"{policy.right:.0%}",
            f"{policy.parameters / 1e6:.1f}M",
            f"{policy.seconds:.2f}",
            style=style,
        )
    CONSOLE.print(table)
    note(f"Means over {n_prompts} held-out prompts of all kinds; losses and seconds were measured.")


def show_bundled(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Show mean scores of the bundled router per outcome set, measured after its training."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("outcomes")
    for column in ("prompts", "experts", "routed", "best single", "random", "oracle"):
        table.add_column(column, justify="right")
    for name, row in figures.items():
        scores = (f"{row[key]:.3f}" for key in ("routed", "best_single", "random", "oracle"))
        table.add_row(name, f"{row['prompts']:,.0f}", f"{row['experts']:.0f}", *scores)
    CONSOLE.print(table)
    note(
        "Mean scores, higher is better; measured by benchmarks/bundle/train.py on held-out prompts."
    )


def show_choices(choices: Sequence[Choice]) -> None:
    """Show to which model each typed prompt goes, with the expected loss and dollars."""
    table = _today_table("prompt", "goes to", "expected loss", "expected USD per 1,000")
    for choice in choices:
        dollars = "unknown" if choice.cost is None else f"{1000 * choice.cost:.2f}"
        prompt = choice.prompt if len(choice.prompt) <= 48 else choice.prompt[:47] + "…"
        table.add_row(escape(prompt), choice.model, f"{choice.loss:.3f}", dollars)
    CONSOLE.print(table)


def show_replay(replay: Replay) -> None:
    """Show the score of always asking one model, of routing, and what the answers cost."""
    table = _today_table("always", "mean score")
    for name, score in sorted(replay.scores.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{score:.3f}")
    table.add_row("[bold]routed[/]", f"[bold]{replay.routed:.3f}[/]")
    CONSOLE.print(table)
    CONSOLE.print(f"\n{replay.savings}", markup=False)


def _today_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or column == "goes to" else "right")
    return table
