"""Chat templates: records as text and as token trees, split where a response begins."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rewardgap.data.records import Message, Record
from rewardgap.data.templates import find_template
from rewardgap.data.trees import Tokens, Tree, divide, truncate
from rewardgap.errors import BadRecordError, UserError, first_line, reported

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Added to templates that do not end a response: no model could learn where to stop.
END_OF_TURN = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"

WORDS = "⟦words⟧"  # stands for a response's text if only the text around it is needed
MARK = "60271983045"  # with three digits, stands for a message's text: is it written at all?

Conversation = tuple[Message, ...]


class ChatTemplate:
    """A tokenizer with its chat template, with which it is saved.

    `template` replaces the model's own, see `find_template`. A tokenizer without a chat template
    gets the paper's; `added_tokens` says that the template's tokens were added, so that a model's
    embeddings have to be resized. A template that does not end a response with a special token gets
    the tokenizer's end-of-sequence token appended, unless it is used `as_written`.

    Attributes:
        name: The name or file of the template that replaced the model's own, None if none did.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: str | None = None,
        as_written: bool = False,
    ):
        self.tokenizer = tokenizer
        self.name = template
        written = find_template(template, tokenizer.chat_template)
        self.added_tokens = not tokenizer.get_vocab().keys() >= set(written.tokens)
        if self.added_tokens:
            tokenizer.add_tokens(list(written.tokens), special_tokens=True)
            tokenizer.eos_token = written.end
        tokenizer.chat_template = written.text
        self._dropped_roles: dict[tuple[tuple[str, ...], bool, int], str | None] = {}
        if self.end_of_turn is None and not as_written:
            if tokenizer.eos_token is None:
                raise UserError(
                    "the chat template does not end a response with a special token and the "
                    "tokenizer has no eos_token; set one in tokenizer_config.json"
                )
            tokenizer.chat_template += END_OF_TURN

    @classmethod
    def load(
        cls, folder: Path, template: str | None = None, as_written: bool = False
    ) -> "ChatTemplate":
        """Load the tokenizer of a model directory, with its chat template or another one."""
        tokenizer = load_tokenizer(folder)
        if template is None and not tokenizer.chat_template:
            _warn_of_no_template(str(folder))
        return cls(tokenizer, template, as_written)

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

        Raises:
            UserError: The template raises an error: it does not allow the conversation.
        """
        messages = [message.as_mapping() for message in conversation]
        options: dict[str, Any] = {**(arguments or {}), "add_generation_prompt": open_response}
        try:
            text = str(self.tokenizer.apply_chat_template(messages, tokenize=False, **options))
            text.encode()  # a template may write half of a surrogate pair
        except Exception as error:  # of any kind, as templates are programs
            raise UserError(f"the chat template fails: {first_line(error)}") from error
        return text

    def warn_unused(self, records: Sequence[Record]) -> None:
        """Name the arguments of records that the chat template does not read."""
        for name in self.unused(name for record in records for name in record.template_arguments):
            logger.warning("`%s` has no effect: the chat template does not read it", name)

    def unused(self, arguments: Iterable[str]) -> list[str]:
        """Return the names of arguments that the chat template does not read."""
        written = str(self.tokenizer.chat_template)
        return [name for name in sorted(set(arguments)) if name not in written]

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

        A response begins where the tokens of prompt and response stop being those of the prompt
        with the generation prompt. Usually that is the prompt's end; it is earlier where tokens
        merge across it, and where the generation prompt opens or closes a thought that the template
        does not write before this response. Such trees are `moved`; see `divide`.

        Sequences are truncated to at most `max_length` tokens.

        Raises:
            BadRecordError: The template raises an error, leaves out a message, or writes nothing
                of a response or nothing before it.
        """
        self.warn_unused(records)
        written = [self._write(record) for record in records]
        prompts = self.tokenize([prompt for prompt, _ in written])
        sequences = iter(self.tokenize([text for _, texts in written for text in texts]))
        trees = [
            self._tree(record, prompt, [next(sequences) for _ in record.responses])
            for record, prompt in zip(records, prompts, strict=True)
        ]
        return trees if max_length is None else [truncate(tree, max_length) for tree in trees]

    def encode_written(
        self, prompt: str | Tokens | None, texts: Sequence[str | Tokens], max_length: int | None
    ) -> Tree:
        """Return the tree of texts that were rendered before; see `ChatEncoding`."""
        sequences = [self._token_ids(text) for text in texts]
        if isinstance(prompt, str) and not all(
            isinstance(text, str) and text.startswith(prompt) for text in texts
        ):
            raise UserError("a text does not begin with its prompt")
        opened = sequences[0][:1] if prompt is None else self._token_ids(prompt)
        record = Record("text", (), ((),) * len(texts), (), {})
        tree = self._tree(record, opened, sequences)
        return tree if max_length is None else truncate(tree, max_length)

    def _token_ids(self, text: str | Tokens) -> Tokens:
        return self.tokenize([text])[0] if isinstance(text, str) else text

    def _write(self, record: Record) -> tuple[str, list[str]]:
        """Return the text of a prompt that opens a response, and that of every whole sequence."""
        with bad_record(record):
            conversations = [record.prompt + response for response in record.responses]
            arguments = record.template_arguments
            for conversation in conversations:
                self.check_roles(conversation, arguments=arguments)
            prompt = self.render(record.prompt, open_response=True, arguments=arguments)
            return prompt, [self.render(texts, arguments=arguments) for texts in conversations]

    def check_roles(
        self,
        conversation: Conversation,
        *,
        open_response: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise a UserError if the template leaves out a message of a conversation of these roles.

        Nothing would tell that a model has never read a system message.
        """
        roles = tuple(message.role for message in conversation)
        key = (roles, open_response, hash(repr(arguments)) if arguments else 0)
        if key not in self._dropped_roles:
            texts = [f"{MARK}{index}" for index in range(100, 100 + len(roles))]
            try:
                messages = tuple(map(Message, roles, texts))
                written = self.render(messages, open_response=open_response, arguments=arguments)
            except UserError:  # so does the rendering of the conversation itself, with its reason
                written = "".join(texts)
            missing = (r for r, text in zip(roles, texts, strict=True) if text not in written)
            self._dropped_roles[key] = next(missing, None)
        if (role := self._dropped_roles[key]) is not None:
            raise UserError(f"the chat template leaves out a message of role {role!r}")

    def _tree(self, record: Record, prompt: Tokens, sequences: list[Tokens]) -> Tree:
        nodes, parents = divide(prompt, sequences)
        responses = nodes[-len(sequences) :]
        with bad_record(record):
            if not nodes[0]:
                raise UserError(
                    "the chat template writes nothing before a response as it writes "
                    "it in the generation prompt"
                )
            if not all(responses):
                raise UserError("the chat template writes nothing of a response")
        missing = len(prompt) - len(nodes[0])
        return Tree(
            record=record.id,
            nodes=nodes,
            parents=parents,
            chosen=len(record.chosen),
            rejected=len(record.rejected),
            lengths=tuple(map(len, responses)),
            head=self.head(prompt),
            opening=max(1, self.opening - missing),
            closing=self.closing,
            moved=missing > 0,
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


@cache
def _warn_of_no_template(folder: str) -> None:
    """Say once which template a model without one gets."""
    logger.warning(
        "%s has no chat template: the paper's is used, [USER]…[ASSISTANT]…[EOS]; name another with "
        "--template (chatml, llama-3, zephyr, alpaca, or a file)",
        folder,
    )


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a model directory; raise a UserError if it is missing or damaged."""
    from transformers import AutoTokenizer
    from transformers.utils.import_utils import is_protobuf_available, is_sentencepiece_available

    if not any(folder.glob("tokenizer*")):
        raise UserError(f"{folder} has no tokenizer (tokenizer.json); save it with the model")
    is_sentencepiece = (folder / "tokenizer.model").exists() and not (
        folder / "tokenizer.json"
    ).exists()
    if is_sentencepiece and not (is_sentencepiece_available() and is_protobuf_available()):
        raise UserError(
            f"{folder} has its tokenizer as tokenizer.model, which needs sentencepiece and "
            "protobuf: pip install 'rewardgap[sentencepiece]'"
        )
    with reported(Exception, f"cannot load a tokenizer from {folder}: "):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer(WORDS)  # some settings fail only now
    return cast("PreTrainedTokenizerBase", tokenizer)


@contextmanager
def bad_record(record: Record) -> Iterator[None]:
    """Raise what is wrong with a record as a `BadRecordError` that names it."""
    try:
        yield
    except UserError as error:
        raise BadRecordError(record.id, str(error)) from error
