"""What a server counts of itself, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerFigures:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        labels = ["path", "status"]
        self.requests = Counter(
            "rewardgap_requests", "Requests answered", labels, registry=registry
        )
        self.seconds = Histogram(
            *("rewardgap_request_seconds", "Time to answer", ["path"]),
            buckets=SECONDS,
            registry=registry,
        )
        self.responses = Counter("rewardgap_responses", "Responses rewarded", registry=registry)
        self.tokens = Counter(
            "rewardgap_tokens", "Tokens of rewarded responses with their prompts", registry=registry
        )
        self.batches = Histogram(
            *("rewardgap_batch_requests", "Requests computed together"),
            buckets=REQUESTS,
            registry=registry,
        )
        self.waiting = Gauge("rewardgap_waiting_requests", "Requests waiting", registry=registry)

    def to_text(self) -> bytes:
        """Return all counters as Prometheus reads them."""
        return generate_latest(self._registry)
