"""Figures of a running registry, as Prometheus reads them.

The format is a few lines of text, so it is written by hand rather than with a
library. Labels come from short closed lists only (methods, routes, codes): a
client cannot make the list grow.
Source: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from aiohttp import web

from corten.serve.registry.hooks import Finished

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)  # seconds
METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How many durations fell below each of ``BUCKETS``, their sum and number."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        """Yield the lines of this histogram."""
        bounds = (*map(_number, BUCKETS), "+Inf")
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            yield _line(f"{name}_bucket", (*labels, ("le", bound)), count)
        yield _line(f"{name}_sum", labels, self._sum)
        yield _line(f"{name}_count", labels, sum(self._counts))


class Metrics:
    """Counts what the door tells it, and asks for what others know when somebody looks.

    Lives in the event loop's thread; *gauges* are values of the moment by name
    (with what they mean), such as how many bytes are stored.
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]] | None = None) -> None:
        self._gauges = dict(gauges or {})
        self._requests: Counter[Labels] = Counter()
        self._durations: dict[Labels, Histogram] = {}
        self._received = self._sent = 0
        self._collections = self._freed_blobs = self._freed_bytes = 0

    def finished(self, request: Finished) -> None:
        """Count an answered request."""
        method = request.method if request.method in METHODS else "other"
        where: Labels = (("method", method), ("route", request.route))
        self._requests[(*where, ("code", str(request.code)))] += 1
        self._durations.setdefault(where, Histogram()).add(request.seconds)
        self._received += request.received
        self._sent += request.sent

    def collected(self, blobs: int, size: int) -> None:
        """Count a run of the garbage collection that freed *blobs* of *size* bytes in all."""
        self._collections += 1
        self._freed_blobs += blobs
        self._freed_bytes += size

    async def page(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002  # the same for everybody
        """Answer ``/metrics``; what others know is asked for in a thread, since that may block."""
        text = self.text(await asyncio.to_thread(self.ask))
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    def ask(self) -> dict[str, float]:
        """Return the values of the moment; blocks."""
        return {name: value() for name, (_, value) in self._gauges.items()}

    def text(self, values: Mapping[str, float]) -> str:
        """Return all figures, with *values* of the moment."""
        return "".join(f"{line}\n" for line in self._lines(values))

    def _lines(self, values: Mapping[str, float]) -> Iterator[str]:
        yield from _head("corten_registry_requests_total", "counter", "Answered requests.")
        for labels, count in sorted(self._requests.items()):
            yield _line("corten_registry_requests_total", labels, count)
        name = "corten_registry_request_duration_seconds"
        yield from _head(name, "histogram", "From the first byte of a request to the last of its answer.")
        for labels, histogram in sorted(self._durations.items()):
            yield from histogram.lines(name, labels)
        for name, meaning, value in self._totals():
            yield from _head(name, "counter", meaning)
            yield _line(name, (), value)
        for name, number in sorted(values.items()):
            yield from _head(name, "gauge", self._gauges[name][0])
            yield _line(name, (), number)

    def _totals(self) -> tuple[tuple[str, str, int], ...]:
        return (
            ("corten_registry_received_bytes_total", "Bytes of request bodies.", self._received),
            ("corten_registry_sent_bytes_total", "Bytes of answers' bodies.", self._sent),
            ("corten_registry_gc_runs_total", "Runs of the garbage collection.", self._collections),
            ("corten_registry_gc_freed_blobs_total", "Blobs that it removed.", self._freed_blobs),
            ("corten_registry_gc_freed_bytes_total", "Bytes that it freed.", self._freed_bytes),
        )


def _head(name: str, kind: str, meaning: str) -> tuple[str, str]:
    return f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    text = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels)
    return f"{name}{{{text}}} {_number(value)}" if text else f"{name} {_number(value)}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
