"""Write settings as TOML, and make the tables of objects of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.config.schema import Config, ModelTable, PreferencesTable, RequirementTable
from tryage.core.validation import require_extra

if TYPE_CHECKING:
    from datetime import date

    from tryage.core.expert import Expert
    from tryage.core.preferences import Preferences, Requirement

# The short form of a requirement, by its field and operator.
_SHORT_FORMS = {
    ("parameters", "<="): "max_parameters",
    ("cost", "<="): "max_cost",
    ("latency", "<="): "max_latency",
    ("context_length", ">="): "min_context",
    ("security", ">="): "min_security",
    ("downloads", ">="): "min_downloads",
    ("released", ">="): "released_since",
    ("license", "in"): "licenses",
    ("capabilities", "has"): "capabilities",
    ("name", "in"): "only",
    ("name", "not in"): "ban",
}


def to_toml(config: Config) -> str:
    """Return the settings as TOML: what they say, without what they leave out.

    Reading the text gives equal settings.

    Raises:
        MissingExtraError: the extra `config` is not installed.
    """
    require_extra("tomlkit", "config")
    import tomlkit

    return tomlkit.dumps(_in_order(config.model_dump(exclude_unset=True, exclude_none=True)))


def preferences_table(preferences: Preferences) -> PreferencesTable:
    """Return the table of some preferences."""
    said: dict[str, Any] = {
        name: getattr(preferences, name)
        for name in ("answer_value", "latency_value", "tolerance", "quality")
        if getattr(preferences, name) is not None
    }
    if preferences.weights:
        said["weights"] = dict(preferences.weights)
    others = []
    for requirement in preferences.requirements:
        short = _SHORT_FORMS.get((requirement.field, requirement.op))
        if short is None or short in said or requirement.unknown_passes:
            others.append(_requirement_table(requirement))
        else:
            said[short] = _plain(requirement.value)
    if others:
        said["requirements"] = others
    return PreferencesTable(**said)


def model_table(expert: Expert, **client: Any) -> ModelTable:  # noqa: ANN401 - other keys of the table
    """Return the table of an expert; `client` are other keys, such as `model` or `api_key_env`."""
    facts = expert.to_dict()
    if expert.released is not None:
        facts["released"] = expert.released
    return ModelTable(**facts, **client)


def _requirement_table(requirement: Requirement) -> RequirementTable:
    said: dict[str, Any] = {"field": requirement.field, "op": requirement.op}
    said["value"] = _plain(requirement.value)
    if requirement.unknown_passes:
        said["unknown_passes"] = True
    return RequirementTable(**said)


def _plain(value: float | date | tuple[str, ...]) -> float | date | list[str]:
    return list(value) if isinstance(value, tuple) else value


def _in_order(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables in the order of the schema, in which the classes document them."""
    known = list(Config.model_fields)
    return {name: tables[name] for name in known if name in tables}
