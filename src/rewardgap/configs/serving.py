"""Settings of the commands serve, push and merge."""

from dataclasses import dataclass

from rewardgap.configs.compute import Device, Dtype, at_least, positive
from rewardgap.configs.kind import RewardConfig
from rewardgap.configs.paths import HomePaths
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ServeConfig(RewardConfig):
    """Serve the rewards of a run, or of a model trained elsewhere, over HTTP."""

    model: str
    """a run's folder, a saved reward model, or a hub id"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of an implicit model trained elsewhere"""
    host: str = "127.0.0.1"
    """address to listen on; by default this machine alone can connect"""
    port: int = 8000
    """port to listen on; 0: any that is free"""
    token_file: str | None = None
    """file of the bearer token that requests must bring; by default the token is
    $REWARDGAP_TOKEN, and without it none is asked for"""
    max_body: int = 4 * 1024 * 1024
    """bytes of the largest request"""
    max_responses: int = 512
    """responses of one request"""
    max_tokens: int | None = None
    """tokens of a prompt with one response; by default as many as the model reads"""
    queue: int = 128
    """requests that may wait; further ones are told to come again"""
    wait: float = 0.005
    """seconds that a request waits for others to be computed with"""
    timeout: float = 60.0
    """seconds after which a request is given up"""
    max_length: int | None = None
    """truncate prompt and response to at most this many tokens, from the start of the prompt first;
    by default as in the run's training"""
    template: str | None = None
    """chat template instead of the model's: a file, or one of paper, chatml, llama-3, zephyr,
    alpaca; by default that of the run's training"""
    dtype: Dtype = "auto"
    """precision of matrix products, weights stay float32; auto is bfloat16 on GPUs that support it
    and float32 elsewhere"""
    device: Device = "auto"
    """auto uses a GPU if there is one; CUDA_VISIBLE_DEVICES selects which"""
    token_budget: int | None = None
    """tokens per forward pass; a smaller number needs less memory and changes no result; by default
    2,048 on a CPU and 16,384 on a GPU"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "max_body", "max_responses", "max_tokens", "max_length", "token_budget")
        at_least(self, 1, "queue")
        positive(self, "timeout")
        if not 0 <= self.port <= 65535:
            raise UserError(f"port must be between 0 and 65535; it is {self.port}")
        if not 0 <= self.wait <= 1:
            raise UserError(f"wait must be between 0 and 1 second; it is {self.wait}")


@dataclass(frozen=True, kw_only=True)
class PushConfig(HomePaths):
    """Upload a trained reward model with its card and tokenizer to the Hugging Face hub."""

    run: str
    """a run's folder, or a saved reward model"""
    repo: str
    """repository on the hub: owner/name"""
    private: bool = False
    """make the repository private, if it is new"""
    dry_run: bool = False
    """list what would be uploaded, and do nothing"""


@dataclass(frozen=True, kw_only=True)
class MergeConfig(HomePaths):
    """Merge the adapter of a run with its base into an ordinary model, which scores the same."""

    run: str
    """a run's folder, or a saved reward model, with an adapter"""
    out: str
    """folder of the model, which must be new"""
    base: str | None = None
    """where the base model is now, if it has moved"""
    kind: str | None = None
    """the run's kind, where it is code of another package"""
