"""The Python and the TOML that decide as one side of the page does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tryage.config.policy_schema import BudgetTable, QualityGapTable, ThresholdTable
from tryage.config.schema import Config, ModelTable, RouterTable, TrafficTable
from tryage.config.write import model_table, preferences_table, to_toml
from tryage_playground.policy_choice import PolicyChoice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tryage.core.expert import Expert
    from tryage.core.preferences import Preferences, Requirement

_WIDTH = 88  # characters of a line of code


@dataclass(frozen=True, slots=True)
class SnippetParts:
    """What decides.

    Attributes:
        models: The names of the models; none means the experts of the router.
        preferences: What counts, and requirements.
        policy: What changes the decision.
        experts: What a loaded file says about models, by name.
        reads_flags: Whether flags in the prompt count.
        router: The folder or id of the router, None for the bundled one.
        traffic: The URL of the log, None without one.
    """

    models: tuple[str, ...]
    preferences: Preferences
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    experts: Mapping[str, Expert] = field(default_factory=dict)
    reads_flags: bool = False
    router: str | None = None
    traffic: str | None = None


# TOML ------------------------------------------------------------------------------------------

_POLICY_TABLES: Mapping[str, Callable[..., Any]] = {
    "QualityGap": QualityGapTable,
    "Threshold": ThresholdTable,
    "Budget": BudgetTable,
}


def toml_snippet(parts: SnippetParts) -> str:
    """Return a `tryage.toml` that decides as the parts do."""
    told, policy = parts.experts, parts.policy
    router: dict[str, Any] = {} if parts.router is None else {"path": parts.router}
    if parts.reads_flags:
        router["prompt_flags"] = True
    tables: dict[str, Any] = {
        "models": [
            model_table(told[name]) if name in told else ModelTable(name=name)
            for name in parts.models
        ],
        "policies": [
            _POLICY_TABLES[name](kind=name, **policy.arguments)
            for name in (policy.class_name,)
            if name
        ],
        "router": RouterTable(**router) if router else None,
        "traffic": TrafficTable(url=parts.traffic) if parts.traffic else None,
    }
    said = {name: table for name, table in tables.items() if table}
    return to_toml(Config(preferences=preferences_table(parts.preferences), **said))


# Python ----------------------------------------------------------------------------------------


def python_snippet(parts: SnippetParts, prompt: str) -> str:
    """Return a program that decides about a prompt as the parts do; it runs with Tryage alone."""
    lines = [*_imports(parts), "", *_router_lines(parts)]
    lines += [f"decision = router.route({prompt!r})", "print(decision.explain())"]
    return "\n".join(lines) + "\n"


def _imports(parts: SnippetParts) -> list[str]:
    """Return the lines that import what the program names."""
    told = [parts.experts[name] for name in parts.models if name in parts.experts]
    calls = "".join([*map(_expert_call, told), _preferences_call(parts.preferences)])
    names = [*(["Expert"] if told else []), "Preferences", "Router"]
    return [
        *(["import datetime", ""] if "datetime." in calls else []),
        f"from tryage import {', '.join(names)}",
        *(["from tryage.core import Requirement"] if parts.preferences.requirements else []),
        *([f"from tryage.policies import {parts.policy.class_name}"] if parts.policy.kind else []),
    ]


def _router_lines(parts: SnippetParts) -> list[str]:
    """Return the statements that make the router."""
    base = [
        *([] if parts.router is None else [repr(parts.router)]),
        *(["prompt_flags=True"] if parts.reads_flags else []),
    ]
    settings = [
        f"preferences={_preferences_call(parts.preferences)}",
        *([f"traffic={parts.traffic!r}"] if parts.traffic else []),
    ]
    policy = _policy_call(parts.policy)
    if not parts.models:
        lines = [_call_text("router = Router.from_pretrained", [*base, *settings])]
        return [*lines, *([f"router = router.with_policy({policy})"] if policy else [])]
    told = [_expert_call(parts.experts[name]) for name in parts.models if name in parts.experts]
    arguments = [
        _list_text("", map(repr, parts.models)),
        *([f"router=Router.from_pretrained({', '.join(base)})"] if base else []),
        *([_list_text("experts=", told)] if told else []),
        *settings,
        *([f"policy={policy}"] if policy else []),
    ]
    return [_call_text("router = Router.from_models", arguments)]


def _policy_call(policy: PolicyChoice) -> str:
    words = ", ".join(f"{name}={value!r}" for name, value in policy.arguments.items())
    return f"{policy.class_name}({words})" if policy.kind else ""


def _preferences_call(preferences: Preferences) -> str:
    said = preferences.to_dict()
    calls = ", ".join(map(_requirement_call, preferences.requirements))
    words = [
        *([f"weights={dict(preferences.weights)!r}"] if preferences.weights else []),
        *(f"{name}={said[name]!r}" for name in ("answer_value", "tolerance") if name in said),
        *([f"requirements=[{calls}]"] if calls else []),
    ]
    return f"Preferences({', '.join(words)})"


def _requirement_call(one: Requirement) -> str:
    return f"Requirement({one.field!r}, {one.op!r}, {one.value!r})"


def _expert_call(expert: Expert) -> str:
    """Return the call that makes an expert, of fields those that are known."""
    known = {name: getattr(expert, name) for name in expert.to_dict() if name != "name"}
    words = [repr(expert.name), *(f"{name}={_sorted(value)!r}" for name, value in known.items())]
    return f"Expert({', '.join(words)})"


def _sorted(value: object) -> object:
    """Return a set as a list, so that it is always written in the same order."""
    return sorted(value) if isinstance(value, frozenset) else value


def _list_text(prefix: str, items: Iterable[str]) -> str:
    """Return a list of code, over several lines if it is long."""
    texts = list(items)
    line = f"{prefix}[{', '.join(texts)}]"
    if len(line) + 4 <= _WIDTH:
        return line
    return f"{prefix}[\n" + "".join(f"        {text},\n" for text in texts) + "    ]"


def _call_text(function: str, arguments: Sequence[str]) -> str:
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    return f"{function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"
