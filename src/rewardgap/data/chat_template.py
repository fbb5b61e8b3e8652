"""Chat templates: records as text and as token trees, split where a response begins."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tokens, Tree, truncate
from rewardgap.errors import UserError, reported

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# The paper's format for models without a chat template, with three new special tokens.
PAPER_TOKENS = ("[USER]", "[ASSISTANT]", "[EOS]")
PAPER_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[USER]' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '[ASSISTANT]' + message['content'] + '[EOS]' }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '[ASSISTANT]' }}{% endif %}"
)
# Added to templates that do not end a response: no model could learn where to stop.
END_OF_TURN = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"

WORDS = "⟦words⟧"  # stands for a response's text if only the text around it is needed

Conversation = tuple[Message, ...]


class ChatTemplate:
    """A tokenizer with its chat template, with which it is saved.

    A tokenizer without a chat template gets the paper's; `added_tokens` then says that it added
    tokens, so that a model's embeddings have to be resized. A template that does not end a response
    with a special token gets the tokenizer's end-of-sequence token appended.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self.tokenizer = tokenizer
        self.added_tokens = tokenizer.chat_template is None
        if self.added_tokens:
            tokenizer.add_tokens(list(PAPER_TOKENS), special_tokens=True)
            tokenizer.eos_token = PAPER_TOKENS[-1]
            tokenizer.chat_template = PAPER_TEMPLATE
        elif self.end_of_turn is None:
            if tokenizer.eos_token is None:
                raise UserError(
                    "the chat template does not end a response with a special token and the "
                    "tokenizer has no eos_token; set one in tokenizer_config.json"
                )
            tokenizer.chat_template += END_OF_TURN

    @classmethod
    def load(cls, folder: Path) -> "ChatTemplate":
        """Load the template of a model directory, in which there must be a tokenizer."""
        from transformers import AutoTokenizer

        if not any(folder.glob("tokenizer*")):
            raise UserError(f"{folder} has no tokenizer (tokenizer.json); save it with the model")
        with reported((OSError, ValueError), f"cannot load a tokenizer from {folder}: "):
            return cls(AutoTokenizer.from_pretrained(folder))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that determines how records are written.

        It includes an example, because a template may write special tokens or today's date.
        """
        tokenizer = self.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        state = backend.to_str() if backend else f"{type(tokenizer)} {tokenizer.get_vocab()}"
        example = self.render((Message("user", WORDS), Message("assistant", WORDS)))
        parts = (tokenizer.chat_template, example, tokenizer.bos_token, state)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def render(
        self,
        conversation: Conversation,
        *,
        open_response: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a conversation as text.

        Args:
            conversation: The messages.
            open_response: Start the assistant's next turn.
            arguments: A record's `template_arguments`.
        """
        messages = [message.as_mapping() for message in conversation]
        options = {**(arguments or {}), "add_generation_prompt": open_response}
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **options))

    def warn_unused(self, records: Sequence[Record]) -> None:
        """Name the arguments of records that the chat template does not read."""
        names = {name for record in records for name in record.template_arguments}
        for name in sorted(names):
            if name not in str(self.tokenizer.chat_template):
                logger.warning("`%s` has no effect: the chat template does not read it", name)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the token ids of rendered texts.

        No special tokens are added: the template has written them, and a second BOS would change
        every reward.
        """
        if not texts:
            return []
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        return [tuple(ids) for ids in self.tokenizer(list(texts), **options)["input_ids"]]

    def encode(self, records: Sequence[Record], max_length: int | None = None) -> list[Tree]:
        """Return records as trees: the prompt is the root, every response with its end a leaf.

        Sequences are truncated to at most `max_length` tokens.

        Raises:
            UserError: The tokens of a prompt are not the first tokens of the prompt with a
                response, so no position separates the two.
        """
        self.warn_unused(records)
        prompts = self.tokenize(
            [
                self.render(r.prompt, open_response=True, arguments=r.template_arguments)
                for r in records
            ]
        )
        texts = [
            self.render(r.prompt + y, arguments=r.template_arguments)
            for r in records
            for y in r.responses
        ]
        sequences = iter(self.tokenize(texts))
        trees = [
            self._tree(record, prompt, [next(sequences) for _ in record.responses])
            for record, prompt in zip(records, prompts, strict=True)
        ]
        return trees if max_length is None else [truncate(tree, max_length) for tree in trees]

    def _tree(self, record: Record, prompt: Tokens, sequences: list[Tokens]) -> Tree:
        for tokens in sequences:
            if tokens[: len(prompt)] != prompt or len(tokens) == len(prompt):
                raise UserError(
                    f"record {record.id}: the tokens of the prompt are not a prefix of prompt and "
                    "response; use a chat template whose generation prompt is also what precedes "
                    "a given response, and whose turns end in special tokens"
                )
        responses = tuple(tokens[len(prompt) :] for tokens in sequences)
        return Tree(
            record=record.id,
            nodes=(prompt, *responses),
            parents=(-1, *[0] * len(responses)),
            chosen=len(record.chosen),
            rejected=len(record.rejected),
            lengths=tuple(map(len, responses)),
            head=self.head(prompt),
            opening=self.opening,
            closing=self.closing,
        )

    def head(self, tokens: Tokens) -> int:
        """Return the number of tokens at the start that truncation keeps: 1 for BOS, else 0."""
        return int(len(tokens) > 0 and tokens[0] == self.tokenizer.bos_token_id)

    @cached_property
    def opening(self) -> int:
        """Number of tokens between the user's text and a response."""
        opened = self.render((Message("user", WORDS),), open_response=True)
        return max(1, len(self.tokenize([opened.rpartition(WORDS)[2]])[0]))

    @cached_property
    def closing(self) -> int:
        """Number of tokens from the end of a response's text, at least 1."""
        return max(1, len(self.closing_tokens()))

    def closing_tokens(self) -> Tokens:
        """Return the tokens after a response's text."""
        answered = (Message("user", "a"), Message("assistant", WORDS))
        return self.tokenize([self.render(answered).rpartition(WORDS)[2]])[0]

    @property
    def end_of_turn(self) -> int | None:
        """The special token that ends a response, None if there is none."""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        return next((token for token in self.closing_tokens() if token in special), None)
