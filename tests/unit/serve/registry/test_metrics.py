"""Figures in Prometheus' text format."""

from corten.serve.registry.hooks import Finished
from corten.serve.registry.metrics import Metrics


def test_counts_requests_by_method_route_and_code() -> None:
    """Each combination is a line; bytes add up over all."""
    metrics = Metrics()
    for code, seconds in ((200, 0.003), (200, 0.2), (404, 0.0001)):
        metrics.finished(Finished("GET", "blob", code, seconds, 10, 1000))
    lines = metrics.text(metrics.ask()).splitlines()
    assert 'corten_registry_requests_total{method="GET",route="blob",code="200"} 2' in lines
    assert 'corten_registry_requests_total{method="GET",route="blob",code="404"} 1' in lines
    assert "corten_registry_received_bytes_total 30" in lines
    assert "corten_registry_sent_bytes_total 3000" in lines


def test_durations_are_cumulative() -> None:
    """A bucket counts all that are not longer; the last one counts all."""
    metrics = Metrics()
    for seconds in (0.001, 0.003, 120.0):
        metrics.finished(Finished("PUT", "manifest", 201, seconds, 0, 0))
    name = 'corten_registry_request_duration_seconds_bucket{method="PUT",route="manifest",le='
    found = {line[len(name) :] for line in metrics.text(metrics.ask()).splitlines() if line.startswith(name)}
    assert {'"0.001"} 1', '"0.0025"} 1', '"0.005"} 2', '"60"} 2', '"+Inf"} 3'} <= found
    assert "corten_registry_request_duration_seconds_count" in metrics.text(metrics.ask())


def test_a_client_cannot_invent_labels() -> None:
    """Methods that HTTP does not know share one label."""
    metrics = Metrics()
    for method in ("BREW", "X" * 1000, 'a"b'):
        metrics.finished(Finished(method, "unknown", 405, 0.0, 0, 0))
    assert 'corten_registry_requests_total{method="other",route="unknown",code="405"} 3' in metrics.text(
        metrics.ask()
    )


def test_values_of_the_moment_are_asked_for() -> None:
    """Gauges and the garbage collection's totals are shown with their meaning."""
    size = [5.0]
    metrics = Metrics({"corten_registry_storage_bytes": ("Bytes of all blobs.", lambda: size[0])})
    metrics.collected(2, 70)
    metrics.collected(0, 0)
    text = metrics.text(metrics.ask())
    assert (
        "# HELP corten_registry_storage_bytes Bytes of all blobs.\n# TYPE corten_registry_storage_bytes gauge"
        in text
    )
    assert "corten_registry_storage_bytes 5\n" in text
    assert "corten_registry_gc_runs_total 2\n" in text
    assert "corten_registry_gc_freed_bytes_total 70\n" in text
    size[0] = 7.5
    assert "corten_registry_storage_bytes 7.5\n" in metrics.text(metrics.ask())
