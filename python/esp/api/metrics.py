"""`/metrics`: the numbers of every process of this node, added up."""

from pathlib import Path

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from esp.telemetry import metrics


def route(folder: Path | None) -> HTTPRouteHandler:
    """Return the handler; `folder` holds the numbers of all processes, `None` means this one alone."""

    @get(
        "/metrics",
        summary="Prometheus metrics",
        tags=["health"],
        include_in_schema=False,
        sync_to_thread=True,
    )
    def scrape() -> Response[bytes]:
        registry = metrics.REGISTRY
        if folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return scrape
