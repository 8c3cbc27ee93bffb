"""How routers are made from files and from the Hub, saved, and brought up to date."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from tryage.core.library import Library, merge_missing_facts
from tryage.errors import InputError
from tryage.perception.bundled_router import bundled_router_parts
from tryage.perception.pretrained import (
    BUNDLED_FOLDER,
    damaged_router,
    load_router_parts,
    resolve_folder,
    save_router,
    without_privileges,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from tryage.core.constraints import Constraint
    from tryage.core.expert import Expert
    from tryage.core.exploration import Exploration
    from tryage.core.perception import Perception
    from tryage.core.preferences import Preferences
    from tryage.hub.settings import HubSettings
    from tryage.traffic.traffic import Traffic


class RouterSources(ABC):
    """The base of `Router`: everything that reads or writes one."""

    library: Library
    perception: Perception

    @abstractmethod
    def _with_parts(self, perception: Perception, library: Library) -> Self:
        """Return this router with another perception and library."""

    @abstractmethod
    def _parts(self) -> dict[str, Any]:
        """Return the arguments of the constructor that a file can hold."""

    @classmethod
    def from_pretrained(  # noqa: PLR0913 - the settings of a router
        cls,
        name_or_path: str | Path | None = None,
        *,
        preferences: Preferences | str | None = None,
        constraints: Mapping[str, Constraint] | None = None,
        default: str | None = None,
        default_exempt: bool | None = None,
        strict: bool | None = None,
        prompt_flags: bool | None = None,
        min_typicality: float | None = None,
        traffic: Traffic | str | None = None,
        exploration: Exploration | None = None,
        **hub: Any,  # noqa: ANN401 - the options of snapshot_download
    ) -> Self:
        """Load a router: the bundled one, a folder, or a Hub repository by its id.

        A setting that is None stays as it was saved. A repository of the Hub cannot switch on
        `prompt_flags` or `default_exempt`: pass them yourself.

        Args:
            name_or_path: A folder or a repository id; None for the bundled router.
            preferences: They replace the saved ones.
            constraints: The router's own constraints by name. They are code, so no file has them.
            default: As for `Router`.
            default_exempt: As for `Router`.
            strict: As for `Router`.
            prompt_flags: As for `Router`.
            min_typicality: As for `Router`.
            traffic: As for `Router`; no file has it.
            exploration: As for `Router`; no file has it.
            hub: `revision`, `token`, `cache_dir` ... for `huggingface_hub.snapshot_download`.

        Raises:
            InputError: an unknown argument, or a setting that does not fit the router.
            PersistenceError: there is no router, it is damaged, from a newer version, or it needs
                constraints that are missing.
        """
        given = {
            "preferences": preferences,
            "default": default,
            "default_exempt": default_exempt,
            "strict": strict,
            "prompt_flags": prompt_flags,
            "min_typicality": min_typicality,
            "traffic": traffic,
            "exploration": exploration,
        }
        settings = {name: value for name, value in given.items() if value is not None}
        name = BUNDLED_FOLDER if name_or_path is None else name_or_path
        folder = resolve_folder(name, hub, "save_pretrained", "name/router", given)
        parts = _load_parts(name_or_path, folder, constraints or {}, settings)
        try:
            router = cls(**parts)
        except InputError as error:
            raise damaged_router(folder, error) from error
        return cls(**router._parts() | settings) if settings else router

    @classmethod
    def from_models(
        cls,
        models: Sequence[str] | Mapping[str, object],
        *,
        router: Self | None = None,
        experts: Sequence[Expert] | Mapping[str, Expert] = (),
        **settings: Any,  # noqa: ANN401 - those of Router
    ) -> Self:
        """Return a router over models by their names, with what is known of them.

        It decides as `ChatTryage` does over the same models, and needs no client and no key. A name
        is in any spelling, and may end with an effort: "gpt-5.4", "anthropic:claude-opus-4-8@high".

        Args:
            models: The names: a list, or a dict from names of your own to known ones, or to models.
            router: Predicts; the bundled one by default.
            experts: Facts that only you know, under the names of the models: a list, or a dict.
            settings: `preferences`, `default`, `default_exempt`, `traffic`, `exploration` and
                `policy`, as for `Router`.

        Raises:
            InputError: a malformed name or setting, or two models of one name.
            LibraryError: the default is not one of the models.
            PerceptionError: a model is new to the router, which cannot estimate it.
        """
        made: Self = _over_models("configured:router_of_models")(
            models, router, experts=experts, **settings
        )
        return made

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        watch: bool = False,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Return the router of a file of settings: `tryage.toml`, or `[tool.tryage]` of a project.

        No client is made, and no key is needed: the settings of `ChatTryage.from_config` decide in
        the same way.

        Args:
            path: The file. By default what the variable `TRYAGE_CONFIG` says, else `tryage.toml` in
                the working folder or the nearest of its parents, else a `pyproject.toml` there with
                a table `[tool.tryage]`.
            watch: Read the file again when it changes, or a file that it names, or the facts about
                models. New valid settings are in force for all calls that begin after; wrong ones
                are logged. `close()` of the router ends that.
            overrides: Tables whose keys replace those of the file: {"router": {"strict": True}};
                None takes a key out.

        Raises:
            ConfigError: there is no file, or it is wrong; the error has all problems, with their
                lines.
            MissingExtraError: the extra `config` is not installed, or one that the settings need.
        """
        if watch:
            watched: Self = _over_models("watched_router:WatchedRouter")(path, overrides)
            return watched
        from tryage.config.load import load_config

        loaded = load_config(path, overrides=overrides)
        made: Self = _over_models("configured:configure")(loaded).router
        return made

    def reload(self) -> bool:
        """Read the file of settings now; return whether it is valid, and in force.

        What is wrong with it is logged, and the settings stay as they were.

        Raises:
            InputError: the router does not watch a file.
        """
        raise InputError(
            "This router watches no file of settings; make it with Router.from_config(watch=True)."
        )

    def close(self) -> None:  # noqa: B027 - only a router that watches has something to end
        """Stop waiting for changes of the file of settings, if this router does."""

    @classmethod
    def from_hub(cls, task: str | None = None, *, base: Self | None = None, **query: Any) -> Self:  # noqa: ANN401 - the arguments of `Library.from_hub`
        """Return a router for the matching models of the Hub.

        Models that `base` has, under any of their names, keep their learned abilities, and its
        facts about them fill in missing ones. All other models get the prior of its perception.
        Routing reads from memory only and never waits for the Hub.

        Args:
            task: The Hub's pipeline tag, such as "text-generation".
            base: The router that gives its perception, preferences, constraints and, if it is among
                the models, its default; the bundled router if None.
            query: The other arguments of `Library.from_hub`: `filters`, `limit`, `sort`, `license`,
                `catalogue`, `settings` ...

        Raises:
            InputError, LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
            PerceptionError: some models are new to the perception of `base`, and it has no prior.
        """
        library = Library.from_hub(task, **query)
        known = base if base is not None else cls.from_pretrained()
        merged = _merge_libraries(library, known.library)
        return known._with_parts(known.perception, merged)  # noqa: SLF001 - the same class

    def explain_missing(self) -> str:
        """Return which models `from_hub` left out because something about them is unknown, and why.

        Raises:
            InputError, CatalogueError: as in `Library.explain_missing`.
        """
        return self.library.explain_missing()

    def refresh(self, settings: HubSettings | None = None) -> Self:
        """Return this router with an up-to-date library; everything it has learned is kept.

        The catalogue is read again. If it is not newer than the library, the Hub is asked first; if
        that fails, there is a warning and the catalogue is used as it is. This router does not
        change and can route in other threads meanwhile: refresh in the background and replace it by
        the result.

        Raises:
            InputError: the library does not come from `from_hub`, or it is a subset of one.
            LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
        """
        from tryage.hub.candidates import load_library

        origin = self.library.origin
        if origin is None or origin.query is None:
            raise InputError(
                "Only a router made by Router.from_hub can be refreshed, not a subset of it: "
                "refresh the whole router and take subset() again."
            )
        library = load_library(origin.query, origin.path, settings, newer_than=origin.as_of)
        if origin.supplement is not None:
            library = _merge_libraries(library, origin.supplement)
        for name in origin.added_experts:
            if name not in library:
                library = library.with_expert(self.library[name])
        return self._with_parts(self.perception, library)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,  # noqa: ANN401 - the options of push_to_hub
    ) -> None:
        """Save the router to a folder: weights as safetensors, the rest as JSON, and a model card.

        Of your own constraints only the names are saved, because they are code: pass them again to
        `from_pretrained`. A policy is not saved either: `from_pretrained(folder).with_policy(...)`.
        Tokens, clients and other arguments are not part of a router and are not written to any
        file. With `push_to_hub`, `repo_id` and `hub` are as for that method.

        Raises:
            InputError: an unknown argument, or one for the Hub without `push_to_hub`.
            PersistenceError: the perception is not one that Tryage can save.
        """
        if hub or repo_id is not None:
            _check_push_arguments(hub, repo_id, push_to_hub=push_to_hub)
        folder = Path(folder)
        save_router(folder, **self._parts())
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, **hub)

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - the options of upload_folder
        """Upload the router to a repository of the Hugging Face Hub; return the URL of the commit.

        Takes `token`, `private`, `branch`, `commit_message` and the options of
        `HfApi.upload_folder`.

        Raises:
            InputError: an unknown argument.
            PersistenceError: the Hub refuses or does not answer.
        """
        from tryage.hub.repository import push_folder

        return push_folder(lambda folder: save_router(folder, **self._parts()), repo_id, **hub)


def _over_models(name: str) -> Any:  # noqa: ANN401 - a function or a class
    """Return what makes routers over a user's models.

    It is found by its name: what a user's names mean is known to the room `chat`, above this one,
    and an import of it would make a circle.
    """
    return resolve_name(f"tryage.chat.{name}")


def _load_parts(
    name_or_path: str | Path | None,
    folder: Path,
    constraints: Mapping[str, Constraint],
    chosen: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parts of a saved router; `chosen` are the settings that its user gave."""
    if name_or_path is None:
        return {**bundled_router_parts(), "constraints": constraints}
    parts = load_router_parts(folder, constraints)
    is_local = folder == Path(name_or_path)
    return parts if is_local else without_privileges(parts, name_or_path, chosen)


def _check_push_arguments(
    options: Mapping[str, Any], repo_id: str | None, *, push_to_hub: bool
) -> None:
    """Raise unless the arguments of a push are known, and meant for one."""
    from tryage.hub.repository import check_push_options

    check_push_options(options)
    if not push_to_hub:
        names = ", ".join([*([] if repo_id is None else ["repo_id"]), *options])
        raise InputError(f"{names}: only for a push; pass push_to_hub=True as well.")


def _merge_libraries(library: Library, other: Library) -> Library:
    """Fill in missing facts of a library of the Hub from another one, and remember that one."""
    merged = merge_missing_facts(library, other)
    if merged.origin is not None:
        merged.origin = replace(merged.origin, supplement=other)
    return merged
