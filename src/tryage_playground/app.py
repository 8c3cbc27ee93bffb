"""The application: one page, its parts that change, uploads and suggestions."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the types of a route
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

import tryage
from tryage.errors import InputError, TryageError
from tryage.router import Router
from tryage_playground.files import FileStore
from tryage_playground.page import known_names, make_results
from tryage_playground.policy_choice import POLICY_LABELS
from tryage_playground.pool import RouterPool
from tryage_playground.security import SecurityMiddleware
from tryage_playground.settings import PlaygroundSettings
from tryage_playground.sliders import SLIDERS
from tryage_playground.state import (
    PageState,
    Side,
    format_number,
    read_state,
    to_query,
    unique_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage_playground.files import FileKind
    from tryage_playground.state import Pairs

_log = logging.getLogger(__name__)

_HERE = Path(__file__).parent

_MAX_FIELDS = 1_000  # of a form

_KINDS = ("table", "library", "traffic")


def create_app(
    router: Router | None = None,
    settings: PlaygroundSettings | None = None,
    files: Mapping[str, tuple[str, bytes]] | None = None,
) -> FastAPI:
    """Return the application; any ASGI server runs it.

    Args:
        router: It decides; by default the bundled router, which reads flags in prompts.
        settings: What the page opens with, and limits.
        files: Name and content of files that are loaded at first, by "table", "library" or
            "traffic".

    Raises:
        InputError: a file is none of its kind, or an argument is of a wrong type.
    """
    if router is not None and not isinstance(router, Router):
        raise InputError(f"router is a {type(router).__name__}; expected a Router, or None.")
    limits = PlaygroundSettings() if settings is None else settings
    if router is None:
        pool = RouterPool(Router.from_pretrained(prompt_flags=True))
    else:
        pool = RouterPool(router, limits.router or "path/of/your/router")
    playground = Playground(pool, FileStore(), limits)
    for kind, (name, content) in (files or {}).items():
        playground.open_with(cast("FileKind", kind), name, content)
    return _make_app(playground)


class Playground:
    """What the routes share: routers, loaded files, and what the page opens with."""

    def __init__(self, pool: RouterPool, files: FileStore, settings: PlaygroundSettings) -> None:
        self.pool, self.files, self.settings = pool, files, settings
        self.default = PageState(models=settings.models)
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def open_with(self, kind: FileKind, name: str, content: bytes) -> None:
        """Load a file that the page opens with.

        Raises:
            InputError: it is no file of this kind.
        """
        self.default, _ = self.with_file(self.default, kind, name, content)

    def read(self, pairs: Pairs) -> tuple[PageState, tuple[str, ...]]:
        """Return the state of a form or a link, and what is wrong with it."""
        state, problems = read_state(pairs, self.default, self.settings.max_prompt)
        texts = dict(pairs)
        if name := texts.get("add", "").strip():
            try:
                state = self._with_model(state, name)
            except InputError as error:
                problems = (*problems, str(error))
        return state, problems

    def _with_model(self, state: PageState, name: str) -> PageState:
        """Return the state with another model.

        Raises:
            InputError: nothing is known of it, or it is compared already.
        """
        self.pool.check_name(name)
        names = unique_names((*state.models, name))
        if len(names) == len(state.models):
            raise InputError(f"{name} is compared already.")
        return replace(state, models=names, uses_all_models=False)

    def with_file(
        self, state: PageState, kind: FileKind, name: str, content: bytes
    ) -> tuple[PageState, str]:
        """Return the state with a loaded file, whose models are compared, and what was loaded.

        Raises:
            InputError: it is no file of this kind, or nothing is known of its models.
        """
        loaded = self.files.load(kind, name, content)
        library = self.files.find("library", state.library) if kind != "library" else loaded
        told = () if library is None else library.names
        known = tuple(one for one in loaded.names if one in told)
        others = [one for one in loaded.names if one not in told]
        found, unknown = known_names(others, self.pool) if not known else ((), ())
        names = known or found
        state = replace(state, **{kind: loaded.id}, models=names, uses_all_models=False)
        text = (
            f"{loaded.name} is loaded: its {_count(len(names), 'model is', 'models are')} compared."
        )
        if unknown:
            count = _count(len(unknown), "another", "others")
            text += f" Nothing is known of {count}, such as {unknown[0]}."
        return state, text

    def render(
        self, template: str, state: PageState, problems: Sequence[str], note: str = ""
    ) -> str:
        """Return a page or a part of it."""
        results = make_results(state, self.pool, self.files, problems)
        context: dict[str, Any] = {
            "results": results,
            "state": state,
            "note": note,
            "is_part": template != "page.html.jinja",
            "sliders": SLIDERS,
            "second": state.second or Side(),
            "number": format_number,
            "policies": POLICY_LABELS,
            "meaning": self.pool.meaning,
            "known_models": self.pool.base.library.names,
            "version": tryage.__version__,
        }
        return self._environment.get_template(template).render(context)


def _count(number: int, one: str, several: str) -> str:
    return one if number == 1 else f"{number:,} {several}"


def _make_app(playground: Playground) -> FastAPI:
    app = FastAPI(title="Tryage playground", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SecurityMiddleware, settings=playground.settings)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    _add_pages(app, playground)
    _add_parts(app, playground)
    return app


def _add_pages(app: FastAPI, playground: Playground) -> None:
    """Add the routes that work without JavaScript: each answers with the whole page."""

    @app.get("/", response_model=None)
    async def open_page(request: Request) -> Response:
        pairs = parse_qsl(request.url.query, keep_blank_values=True)
        return await _page(playground, pairs)

    @app.post("/", response_model=None)
    async def send_page(request: Request) -> Response:
        return await _page(playground, await _form_pairs(request))

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": tryage.__version__}


def _add_parts(app: FastAPI, playground: Playground) -> None:
    """Add the routes that answer with a part of the page, and the one for uploads."""

    @app.post("/results", response_model=None)
    async def results(request: Request) -> Response:
        return await _part(playground, "results.html.jinja", await _form_pairs(request))

    @app.post("/main", response_model=None)
    async def main(request: Request) -> Response:
        return await _part(playground, "main.html.jinja", await _form_pairs(request))

    @app.post("/load/{kind}", response_model=None)
    async def load(kind: str, request: Request) -> Response:
        if kind not in _KINDS:
            raise HTTPException(404, f"There is no file of the kind {kind!r:.40}.")
        return await _load(playground, cast("FileKind", kind), request)

    @app.get("/suggest", response_model=None)
    def suggest(add: str = "") -> Response:
        names = playground.pool.search(add[:100])
        template = playground._environment.from_string(_OPTIONS)  # noqa: SLF001 - of this module
        return HTMLResponse(template.render(names=names))

    @app.exception_handler(HTTPException)
    def refuse(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(f"{error.detail}\n", error.status_code)


_OPTIONS = '{% for name in names %}<option value="{{ name }}"></option>{% endfor %}'


async def _form_pairs(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a form; those of a small form come with the state of the page.

    Raises:
        HTTPException: it has too many fields.
    """
    form = await request.form(max_files=1, max_fields=_MAX_FIELDS)
    pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    texts = dict(pairs)
    if "answer_value" not in texts and "state" in texts:
        pairs += parse_qsl(texts["state"], keep_blank_values=True)
    return pairs


async def _page(playground: Playground, pairs: Pairs) -> Response:
    def render() -> str:
        state, problems = playground.read(pairs)
        return playground.render("page.html.jinja", state, problems)

    return HTMLResponse(await run_in_threadpool(render))


async def _part(playground: Playground, template: str, pairs: Pairs) -> Response:
    """Return a part of the page; the address of the page becomes a link to its state."""

    def render() -> tuple[str, str]:
        state, problems = playground.read(pairs)
        return playground.render(template, state, problems), to_query(state)

    text, query = await run_in_threadpool(render)
    return HTMLResponse(text, headers={"HX-Replace-Url": f"/?{query}"})


async def _load(playground: Playground, kind: FileKind, request: Request) -> Response:
    """Load a file, and return the page with it, or with what is wrong."""
    form = await request.form(max_files=1, max_fields=_MAX_FIELDS)
    upload = form.get("file")
    content = await upload.read() if isinstance(upload, UploadFile) else b""
    name = (upload.filename or "") if isinstance(upload, UploadFile) else ""
    pairs = await _form_pairs(request)
    is_part = request.headers.get("hx-request") == "true"

    def render() -> tuple[str, str, int]:
        state, problems = playground.read(pairs)
        note, status = "", 200
        try:
            if not name:
                raise InputError("No file was chosen.")
            state, note = playground.with_file(state, kind, name, content)
        except TryageError as error:
            _log.info("An upload was refused with %s.", type(error).__name__)
            problems, status = (*problems, str(error)), 422
        template = "main.html.jinja" if is_part else "page.html.jinja"
        return playground.render(template, state, problems, note), to_query(state), status

    text, query, status = await run_in_threadpool(render)
    # A browser writes a status of 400 or more to its console, as if the page were broken.
    headers = {"HX-Replace-Url": f"/?{query}"} if is_part else {}
    return HTMLResponse(text, 200 if is_part else status, headers)
