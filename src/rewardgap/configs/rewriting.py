"""Settings of the command rewrite."""

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from rewardgap.configs.compute import BadRecords, Device, Identical, at_least, positive
from rewardgap.configs.printing import OverwriteConfig, PrintConfig
from rewardgap.errors import UserError

Fault = Literal["refused", "unchanged", "language", "numbers", "code"]
"""Faults of a rewritten text that can be let through."""


@dataclass(frozen=True, kw_only=True)
class RewriteConfig(PrintConfig, OverwriteConfig):
    """Rewrite the responses of preference data by a language model, in other words or languages."""

    data: str
    """data to rewrite: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the JSONL file to write: the same records with other responses"""
    instruction: str
    """paraphrase, a language such as french, or your own instruction in several words"""
    model: str
    """the model's name at the endpoint; without endpoint, a model directory or a hub id"""
    endpoint: str | None = None
    """address of an OpenAI-compatible API, such as https://api.openai.com/v1 or
    http://localhost:8000/v1; by default the model is computed here"""
    api_key_env: str | None = None
    """environment variable of the endpoint's key; by default OPENAI_API_KEY, and none for an
    endpoint on this machine"""
    language: str | None = None
    """language that rewritten responses must be in; by default that of the instruction"""
    temperature: float = 1.0
    """0 for the likeliest answer, of which there is only one attempt"""
    seed: int = 0
    """of the first attempt; the next ones count on"""
    send_seed: bool = True
    """false for an endpoint that refuses a seed"""
    attempts: int = 3
    """times that a response is rewritten, each with another seed, until it has no fault; without
    success its record is left out, and listed beside the output"""
    max_tokens: int | None = None
    """most tokens of a rewritten response; by default those of the endpoint, 1,024 of a model that
    is computed here"""
    max_overlap: float | None = None
    """largest share of words, between 0 and 1, that a rewritten response may have in common with
    the original; by default it is only reported"""
    allow: list[Fault] = field(default_factory=list)
    """faults to let through: refused, unchanged, language, numbers or code"""
    requests_per_minute: float | None = None
    """most requests a minute; by default as many as the endpoint lets through"""
    concurrency: int = 8
    """requests that wait for an answer at the same time"""
    timeout: float = 120.0
    """seconds after which a request is repeated"""
    request_retries: int = 6
    """times that a request is repeated after errors of the endpoint or the network, later and
    later"""
    request: dict[str, Any] = field(default_factory=dict)
    """further fields of every request, such as --request.reasoning_effort low"""
    input_price: float | None = None
    """price of a million tokens that are read"""
    output_price: float | None = None
    """price of a million tokens that are written"""
    dry_run: bool = False
    """estimate tokens and price, and do nothing"""
    identical_pairs: Identical = "refuse"
    """what to do with records that have a response both chosen and rejected"""
    bad_records: BadRecords = "refuse"
    """what to do with records that cannot be read; dropped ones are listed beside the output"""
    template: str | None = None
    """chat template of a model that is computed here, instead of its own: a file, or a name as in
    score"""
    device: Device = "auto"
    """auto uses a GPU if there is one; CUDA_VISIBLE_DEVICES selects which"""
    token_budget: int | None = None
    """tokens of a batch of a model that is computed here, by default 16,384"""
    cache: str | None = None
    """folder of answers, so that none is paid twice; by default $REWARDGAP_CACHE or
    ~/.cache/rewardgap"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "request_retries", "seed")
        at_least(self, 1, "attempts", "max_tokens", "concurrency", "token_budget")
        positive(self, "timeout", "requests_per_minute")
        largest = {"temperature": 2, "max_overlap": 1, "input_price": 1e6, "output_price": 1e6}
        for name, most in largest.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise UserError(f"{name} must be between 0 and {most:g}; it is {value}")
        if self.endpoint is not None:
            _check_endpoint(self.endpoint)
        if self.endpoint is None and (self.request or self.api_key_env):
            key = "request" if self.request else "api_key_env"
            raise UserError(f"{key} is for an endpoint: name it with --endpoint, or leave it out")


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_secret = bool(parts.username or parts.password or parts.query)
        parts.port  # noqa: B018, it raises an error where it is no number
    except ValueError:
        is_address, has_secret = False, False
    if not is_address:
        raise UserError(
            f"endpoint must be an address such as http://localhost:8000/v1; it is {endpoint!r:.80}"
        )
    if has_secret:
        raise UserError(
            "endpoint must be an address without a password or options: put the key into an "
            "environment variable and name it with --api-key-env"
        )
