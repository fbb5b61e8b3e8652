"""Chat templates: records written as text once, tokenised once, split where the response begins."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tokens, Tree, truncate
from rewardgap.errors import UserError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The paper's format for models without a template, with three special tokens of its own.
PAPER_TOKENS = ("[USER]", "[ASSISTANT]", "[EOS]")
PAPER_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[USER]' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '[ASSISTANT]' + message['content'] + '[EOS]' }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '[ASSISTANT]' }}{% endif %}"
)
# For templates that end a response with its last word: no model could learn where to stop.
END_OF_TURN = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"

# Stands for a response's words where only what the template writes around them is wanted.
WORDS = "⟦words⟧"

Conversation = tuple[Message, ...]


class ChatTemplate:
    """A tokenizer together with the chat template that writes conversations for it.

    A model without a chat template gets the paper's (`added_tokens` then tells that its embeddings
    need resizing); a template that does not end a response by a special token gets the tokenizer's
    end-of-sequence token appended. Either way the saved tokenizer holds the template in use.
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
                    "the chat template does not end a response by a special token and the "
                    "tokenizer has no eos_token; set one in tokenizer_config.json"
                )
            tokenizer.chat_template += END_OF_TURN

    @classmethod
    def load(cls, folder: Path) -> "ChatTemplate":
        """The template of a model directory.

        Raises:
            UserError: there is no tokenizer.
        """
        from transformers import AutoTokenizer

        if not any(folder.glob("tokenizer*")):
            raise UserError(
                f"{folder} has no tokenizer (tokenizer.json); save one beside the model"
            )
        try:
            return cls(AutoTokenizer.from_pretrained(folder))
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot load a tokenizer from {folder}: {first_line(error)}"
            ) from error

    @cached_property
    def fingerprint(self) -> str:
        """What determines how records are written: equal where tokenizer and template are.

        An example is part of it: a template may write special tokens, or today's date.
        """
        tokenizer = self.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        words = backend.to_str() if backend else f"{type(tokenizer)} {tokenizer.get_vocab()}"
        example = self.render((Message("user", WORDS), Message("assistant", WORDS)))
        parts = (tokenizer.chat_template, example, tokenizer.bos_token, words)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def render(self, conversation: Conversation, *, open_response: bool = False) -> str:
        """A conversation as text; `open_response` adds the start of the assistant's next turn."""
        messages = [{"role": m.role, "content": m.content} for m in conversation]
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=open_response
            )
        )

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of rendered texts.

        No special tokens are added: the template has written them, and a second BOS would shift
        every reward.
        """
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [tuple(ids) for ids in encoded["input_ids"]]

    def encode(self, records: Sequence[Record], max_length: int | None = None) -> list[Tree]:
        """Records as trees: the prompt is the root and every response, with its end, a leaf.

        Args:
            records: what to write.
            max_length: truncate sequences to so many tokens; None leaves them whole.

        Raises:
            UserError: the tokens of a prompt are not the first tokens of the prompt with a
                response, so that no position separates the two.
        """
        prompts = self.tokenize([self.render(r.prompt, open_response=True) for r in records])
        wholes = iter(
            self.tokenize([self.render(r.prompt + y) for r in records for y in r.responses])
        )
        trees = [
            self._tree(record, prompt, [next(wholes) for _ in record.responses])
            for record, prompt in zip(records, prompts, strict=True)
        ]
        return trees if max_length is None else [truncate(tree, max_length) for tree in trees]

    def _tree(self, record: Record, prompt: Tokens, wholes: list[Tokens]) -> Tree:
        for whole in wholes:
            if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
                raise UserError(
                    f"record {record.id}: the tokens of the prompt are not a prefix of prompt and "
                    "response; use a chat template whose generation prompt is also what precedes "
                    "a given response, and whose turns end in special tokens"
                )
        responses = tuple(whole[len(prompt) :] for whole in wholes)
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
        """Number of tokens at the start that truncation keeps: 1 for BOS, else 0."""
        return int(len(tokens) > 0 and tokens[0] == self.tokenizer.bos_token_id)

    @cached_property
    def opening(self) -> int:
        """Number of tokens between the user's words and a response."""
        opened = self.render((Message("user", WORDS),), open_response=True)
        return max(1, len(self.tokenize([opened.rpartition(WORDS)[2]])[0]))

    @cached_property
    def closing(self) -> int:
        """Number of tokens that end a response (the end of the turn and what follows it)."""
        return max(1, len(self.closing_tokens()))

    def closing_tokens(self) -> Tokens:
        """The tokens that end a response."""
        answered = (Message("user", "a"), Message("assistant", WORDS))
        return self.tokenize([self.render(answered).rpartition(WORDS)[2]])[0]

    @property
    def end_of_turn(self) -> int | None:
        """The special token that ends a response, None where there is none."""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        return next((token for token in self.closing_tokens() if token in special), None)
