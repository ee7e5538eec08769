"""`/health/live` and `/health/ready`: is the process there, and does all of ESP serve."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

CHECK_TIMEOUT = 3.0

Check = Callable[[], Awaitable[bool]]


class Health(msgspec.Struct, frozen=True):
    """The answer of both."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, bool] = {}


def routes(checks: Mapping[str, Check]) -> list[HTTPRouteHandler]:
    """Return the handlers; ready is who passes every one of `checks`."""

    @get("/health/live", summary="The process answers", tags=["health"])
    async def live() -> Health:
        return Health("ok")

    @get("/health/ready", summary="Every role serves, and the stores answer", tags=["health"])
    async def ready() -> Response[Health]:
        results = await asyncio.gather(*(_passed(check) for check in checks.values()))
        outcome = dict(zip(checks, results, strict=True))
        if all(results):
            return Response(Health("ok", outcome), status_code=HTTP_200_OK)
        return Response(Health("unavailable", outcome), status_code=HTTP_503_SERVICE_UNAVAILABLE)

    return [live, ready]


async def _passed(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await check()
    except Exception:  # whatever is wrong, it is not healthy
        return False
