"""A language model that is computed here, by plain transformers, from a directory or the hub."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rewardgap.configs.rewriting import RewriteConfig
from rewardgap.data.records import Message
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.rewriting.replies import Keep, Reply, answer_alone

if TYPE_CHECKING:
    from rewardgap.scoring.generation import Prompt, Sampler

MOST_TOKENS = 1024


class LocalModel:
    """A model in a directory, which is loaded when it is first asked.

    Attributes:
        identity: A hash of its weights, and how answers are sampled.
    """

    def __init__(self, config: RewriteConfig):
        self._config, self._folder = config, locate_model(config.model)
        self._version = fingerprint(self._folder)
        self._max_tokens = config.max_tokens or MOST_TOKENS
        self.identity: Mapping[str, Any] = {
            "model": self._version,
            "temperature": config.temperature,
            "max_tokens": self._max_tokens,
            "template": config.template,
        }

    def answer(self, prompts: Sequence[str], seed: int, keep: Keep) -> None:
        """Answer all prompts, those of similar length together."""
        conversations: list[Prompt] = [((Message("user", prompt),), {}) for prompt in prompts]
        for index, sample in self._sampler.sample(conversations, seed):
            reply = Reply(
                text=answer_alone(sample.text),
                version=f"{self._config.model} {self._version}",
                finish="stop" if sample.is_ended else "length",
                tokens_read=sample.prompt_tokens,
                tokens_written=sample.tokens,
            )
            keep(index, reply)

    @cached_property
    def _sampler(self) -> "Sampler":
        from rewardgap.models.devices import choose_device
        from rewardgap.scoring.generation import Sampler, Sampling

        config = self._config
        sampling = Sampling(
            seed=config.seed,
            device=choose_device(config.device),
            token_budget=config.token_budget,
            template=config.template,
            temperature=config.temperature,
            max_tokens=self._max_tokens,
        )
        return Sampler(self._folder, sampling)
