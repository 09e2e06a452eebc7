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

from capfilt.browse.filters import Filter
from capfilt.browse.guard import Guard
from capfilt.browse.index import Json, Missing
from capfilt.browse.session import Desk
from capfilt.core.errors import CapfiltError
from capfilt.pipelines.imaging.picture import BadImage

STATIC: Final = Path(__file__).parent / "static"

Endpoint = Callable[[Request], Awaitable[Response]]


class Wish(BaseModel):
    """The numbers in an address that are no part of a filter."""

    page: int = Field(0, ge=0, le=10**9)
    place: int = Field(0, ge=0, le=10**12)


class Order(BaseModel):
    """The body of a request that changes something."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Mark(Order):
    """A text is right, wrong or, with null, not marked any more."""

    uid: str = Field(max_length=64)
    candidate: int = Field(ge=0, lt=2**31)
    right: bool | None


class Selection(Order):
    """Keep by this threshold, under this name."""

    name: str = Field(max_length=100)
    judge: str = Field(max_length=100)
    threshold: float


Kind = TypeVar("Kind", bound=Order)


def app(desk: Desk, key: str) -> Guard:
    """The application over one run; every path begins with /`key`/."""
    index = desk.index
    routes = [
        Route("/", _page),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/api/run", _answer(desk, lambda wish, wanted: desk.facts())),
        Route("/api/numbers", _answer(desk, lambda wish, wanted: desk.numbers(wanted))),
        Route("/api/images", _answer(desk, lambda wish, wanted: index.page(wanted, wish.page))),
        Route("/api/image", _answer(desk, lambda wish, wanted: index.image(wish.place, wanted))),
        Route("/api/failures", _answer(desk, lambda wish, wanted: index.failures(wanted.reason, wish.page))),
        Route("/api/marks", _answer(desk, lambda wish, wanted: desk.marks())),
        Route("/api/marks", _order(Mark, lambda mark: desk.mark(**mark.model_dump())), methods=["POST"]),
        Route(
            "/api/selections", _order(Selection, lambda chosen: desk.select(**chosen.model_dump())), methods=["POST"]
        ),
        Route("/picture/{place:int}/{size:int}", _picture(desk)),
    ]
    handlers = {CapfiltError: _mistake, ValidationError: _invalid, Missing: _missing, BadImage: _undrawable}
    return Guard(Starlette(routes=[Mount(f"/{key}", routes=routes)], exception_handlers=handlers), key)


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _answer(desk: Desk, find: Callable[[Wish, Filter], Json | list[Json]]) -> Endpoint:
    """An endpoint that looks something up."""

    async def endpoint(request: Request) -> Response:
        given = {name: value for name, value in request.query_params.items() if value}
        wish = Wish.model_validate(given)
        wanted = Filter.model_validate({name: value for name, value in given.items() if name not in Wish.model_fields})
        desk.check(wanted)
        return JSONResponse(await run_in_threadpool(find, wish, wanted))

    return endpoint


def _order(kind: type[Kind], do: Callable[[Kind], Json]) -> Endpoint:
    """An endpoint that changes something."""

    async def endpoint(request: Request) -> Response:
        order = kind.model_validate_json(await request.body())
        return JSONResponse(await run_in_threadpool(do, order))

    return endpoint


def _picture(desk: Desk) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        data = await run_in_threadpool(desk.picture, request.path_params["place"], request.path_params["size"])
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

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


async def _undrawable(request: Request, error: Exception) -> Response:
    return _failed(415, str(error))
