"""What the page may ask and do: routes, their arguments checked, their answers as JSON."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from capfilt.browse.filters import TextFilter
from capfilt.browse.guard import RequestGuard
from capfilt.browse.index import Json, Missing
from capfilt.browse.session import BrowseSession
from capfilt.core.errors import CapfiltError
from capfilt.pipelines.imaging.image_file import BadImage

STATIC: Final = Path(__file__).parent / "static"

Handler = Callable[[Request], Awaitable[Response]]


class PageRequest(BaseModel):
    """The numbers in an address that are no part of a filter."""

    page: int = Field(0, ge=0, le=10**9)
    place: int = Field(0, ge=0, le=10**12)


class ChangeRequest(BaseModel):
    """The body of a request that changes something."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class MarkRequest(ChangeRequest):
    """A text is right, wrong or, with null, not marked any more."""

    uid: str = Field(max_length=64)
    candidate: int = Field(ge=0, lt=2**31)
    right: bool | None


class SelectRequest(ChangeRequest):
    """Keep by this threshold, under this name."""

    name: str = Field(max_length=100)
    judge: str = Field(max_length=100)
    threshold: float


Kind = TypeVar("Kind", bound=ChangeRequest)


def app(session: BrowseSession, key: str) -> RequestGuard:
    """The application over one run; every path begins with /`key`/."""
    routes = [
        Route("/", _page),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/api/run", _answer(session, lambda at, wanted: session.facts())),
        Route("/api/numbers", _answer(session, lambda at, wanted: session.numbers(wanted))),
        Route("/api/images", _answer(session, lambda at, wanted: session.index.page(wanted, at.page))),
        Route("/api/image", _answer(session, lambda at, wanted: session.index.image(at.place, wanted))),
        Route("/api/failures", _answer(session, lambda at, wanted: session.index.failures(wanted.reason, at.page))),
        Route("/api/marks", _answer(session, lambda at, wanted: session.marks())),
        Route(
            "/api/marks",
            _change(session, MarkRequest, lambda mark: session.mark(**mark.model_dump())),
            methods=["POST"],
        ),
        Route(
            "/api/selections",
            _change(session, SelectRequest, lambda chosen: session.select(**chosen.model_dump())),
            methods=["POST"],
        ),
        Route("/picture/{place:int}/{size:int}", _picture(session)),
    ]
    handlers = {CapfiltError: _mistake, ValidationError: _invalid, Missing: _missing, BadImage: _undrawable}
    handlers |= {OSError: _disk}
    return RequestGuard(Starlette(routes=[Mount(f"/{key}", routes=routes)], exception_handlers=handlers), key)


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _answer(session: BrowseSession, find: Callable[[PageRequest, TextFilter], Json | list[Json]]) -> Handler:
    """An endpoint that looks something up."""

    async def endpoint(request: Request) -> Response:
        given = {name: value for name, value in request.query_params.items() if value}
        at = PageRequest.model_validate(given)
        wanted = TextFilter.model_validate(
            {name: value for name, value in given.items() if name not in PageRequest.model_fields}
        )

        def answer() -> Json | list[Json]:
            # Before every answer: a page that was open all along must not show what was forgotten meanwhile.
            session.honor_forget()
            session.check(wanted)
            return find(at, wanted)

        return JSONResponse(await run_in_threadpool(answer))

    return endpoint


def _change(session: BrowseSession, kind: type[Kind], do: Callable[[Kind], Json]) -> Handler:
    """An endpoint that changes something."""

    async def endpoint(request: Request) -> Response:
        body = kind.model_validate_json(await request.body())

        def change() -> Json:
            session.honor_forget()
            return do(body)

        return JSONResponse(await run_in_threadpool(change))

    return endpoint


def _picture(session: BrowseSession) -> Handler:
    async def endpoint(request: Request) -> Response:
        def draw() -> bytes:
            session.honor_forget()
            return session.picture(request.path_params["place"], request.path_params["size"])

        return Response(await run_in_threadpool(draw), media_type="image/jpeg")

    return endpoint


def _failed(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


async def _mistake(request: Request, error: Exception) -> Response:
    return _failed(400, str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    first = error.errors()[0]
    return _failed(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}")


async def _missing(request: Request, error: Exception) -> Response:
    return _failed(404, f"not there (any more?): {error}")


async def _disk(request: Request, error: Exception) -> Response:
    """A disk that is full, read-only or gone."""
    return _failed(507, " ".join(str(error).split()))


async def _undrawable(request: Request, error: Exception) -> Response:
    return _failed(415, str(error))
