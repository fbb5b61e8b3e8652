"""Texts that are rewritten until no gate finds a fault, or there were enough attempts."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rewardgap.configs.rewriting import RewriteConfig
from rewardgap.data.languages import languages_of
from rewardgap.rewriting.gates import Rewriting, find_fault
from rewardgap.rewriting.instructions import Instruction
from rewardgap.rewriting.replies import NoReply, Reply, ReplyCache, Rewriter

logger = logging.getLogger(__name__)

CHARACTERS = 4
"""Characters of a token, where tokens are estimated."""


@dataclass
class Spent:
    """What answers took, or will take.

    Attributes:
        answers: The answers themselves.
        read: Tokens of instructions and texts.
        written: Tokens of answers.
    """

    answers: int = 0
    read: int = 0
    written: int = 0

    def add(self, read: int, written: int) -> None:
        """Count an answer."""
        self.answers += 1
        self.read += read
        self.written += written

    def price(self, config: RewriteConfig) -> float | None:
        """Return what the tokens cost at the prices of a configuration, None without prices."""
        if config.input_price is None and config.output_price is None:
            return None
        prices = (config.input_price or 0.0), (config.output_price or 0.0)
        return (self.read * prices[0] + self.written * prices[1]) / 1e6


@dataclass
class Attempts:
    """Attempts to rewrite texts.

    Attributes:
        config: How often, and which faults are let through.
        instruction: What the model is told.
        rewriter: The model.
        cache: Its earlier answers.
        texts: By text, what it became.
        reasons: By text that could not be rewritten, why, and the name of the fault.
        faults: How many answers have which fault.
        versions: How many answers came from which model, as the server names it.
        new: What the answers took that were asked for now.
        cached: What those took that were there before.
    """

    config: RewriteConfig
    instruction: Instruction
    rewriter: Rewriter
    cache: ReplyCache
    texts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    new: Spent = field(default_factory=Spent)
    cached: Spent = field(default_factory=Spent)

    def estimate(self, texts: Sequence[str]) -> Spent:
        """Return what the first attempts are likely to take that are not in the cache."""
        spent = Spent()
        for text in texts:
            prompt = self.instruction.prompt(text)
            if self.cache.read(prompt, self.config.seed) is None:
                spent.add(len(prompt) // CHARACTERS, len(text) // CHARACTERS + 1)
        return spent

    def rewrite(self, texts: Sequence[str]) -> None:
        """Rewrite texts.

        Raises:
            UserError: The model gives no answers.
        """
        languages = dict(zip(texts, languages_of(texts), strict=True))
        # Without chance there is one answer.
        most = self.config.attempts if self.config.temperature else 1
        pending = list(texts)
        for attempt in range(most):
            if attempt:
                logger.info(
                    "%d of %d texts are rewritten again for a fault (attempt %d of %d)",
                    *(len(pending), len(texts), attempt + 1, most),
                )
            replies = self._ask(pending, self.config.seed + attempt)
            pending = self._sort(replies, languages)
            if not pending:
                break

    def _ask(self, texts: Sequence[str], seed: int) -> dict[str, Reply | NoReply]:
        """Return answers of the cache, and of the model to all other texts."""
        prompts = {text: self.instruction.prompt(text) for text in texts}
        replies: dict[str, Reply | NoReply] = {}
        for text, prompt in prompts.items():
            if (known := self.cache.read(prompt, seed)) is not None:
                replies[text] = known
                self.cached.add(known.tokens_read, known.tokens_written)
        missing = [text for text in texts if text not in replies]

        def keep(index: int, reply: Reply | NoReply) -> None:
            replies[missing[index]] = reply
            if isinstance(reply, Reply):
                self.cache.write(prompts[missing[index]], seed, reply)
                self.new.add(reply.tokens_read, reply.tokens_written)

        if missing:
            self.rewriter.answer([prompts[text] for text in missing], seed, keep)
        return {text: replies[text] for text in texts}

    def _sort(
        self, replies: Mapping[str, Reply | NoReply], languages: Mapping[str, str | None]
    ) -> list[str]:
        """Take the answers without a fault; return the texts that another attempt may serve."""
        pending = []
        answers = {text: reply for text, reply in replies.items() if isinstance(reply, Reply)}
        written = languages_of([reply.text for reply in answers.values()])
        for (text, reply), language in zip(answers.items(), written, strict=True):
            expected = self.instruction.expected(languages[text])
            rewriting = Rewriting(text, reply, expected, language, self.config.max_overlap)
            fault, reason = find_fault(rewriting, frozenset(self.config.allow))
            self.versions[reply.version] += 1
            if fault:
                self.faults[fault] += 1
                self.reasons[text] = reason
                pending.append(text)
            else:
                self.texts[text] = reply.text
                self.reasons.pop(text, None)
        for text, failure in replies.items():
            if isinstance(failure, NoReply):
                self.faults["no answer"] += 1
                self.reasons[text] = f"no answer: {failure.reason}"
        return pending
