"""Generative reward models: the probability of answering Yes (appendix A)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import WORDS, ChatTemplate, bad_record
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.records import Message, Record, Response
from rewardgap.data.trees import Tokens, Tree, shared_length, truncate
from rewardgap.errors import UserError
from rewardgap.models.kinds.gradients import Pull, Terms
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.losses import verification
from rewardgap.models.packing import Pack, map_trees

VERIFICATION_PROMPT = (
    "Question: {prompt}\nAnswer: {response}\nVerification: Is the answer correct (Yes/No)?"
)
FIELD = re.compile(r"\{prompt\}|\{response\}")


@dataclass(frozen=True)
class Answers:
    """How a chat template writes the answers Yes and No.

    Attributes:
        yes: The first token of Yes that is not one of No.
        no: The first token of No that is not one of Yes.
        opening: The tokens that both begin with, such as an empty thought.
        replaced: The tokens at the end of a generation prompt that come before no given answer,
            such as the beginning of a thought; `opening` replaces them.
    """

    yes: int
    no: int
    opening: Tokens
    replaced: Tokens

    @classmethod
    def of(cls, template: ChatTemplate) -> "Answers":
        """Return how a template writes them; raise a UserError where they begin alike."""
        turn = Message("user", "a")
        texts = [template.render((turn, Message("assistant", word))) for word in ("Yes", "No")]
        prompt, *answers = template.tokenize([template.render((turn,), open_response=True), *texts])
        border, shared = shared_length(prompt, *answers), shared_length(*answers)
        if shared == min(map(len, answers)):
            raise UserError("the chat template or the tokenizer writes Yes and No alike")
        yes, no = (answer[shared] for answer in answers)
        return cls(yes, no, answers[0][border:shared], prompt[border:])

    def open(self, question: Tokens) -> Tokens:
        """Return a question, which ends in the generation prompt, up to where answers differ."""
        kept = len(question) - len(self.replaced)
        if question[kept:] != self.replaced:
            raise UserError("the generation prompt is not written as usual after this question")
        return question[:kept] + self.opening


class VerificationEncoding(ChatEncoding):
    """Write every response into a question that asks whether it answers the prompt.

    Question and prompt are the root, responses the leaves, each with the question's end.
    """

    name = "verification"

    def __init__(self, template: ChatTemplate, options: KindConfig):
        super().__init__(template, options)
        self.question = options.verification_prompt or VERIFICATION_PROMPT
        if FIELD.findall(self.question) != ["{prompt}", "{response}"]:
            raise UserError(
                "verification_prompt must contain {prompt} and then {response}, once each; "
                f"it is {self.question!r}"
            )

    def encode(self, records: Sequence[Record], max_length: int | None = None) -> list[Tree]:
        """Return verification prompts as trees."""
        self.template.warn_unused(records)
        texts = []
        for record in records:
            with bad_record(record):
                texts += [self._ask(record, y) for y in (*record.responses, ())]
        tokens = iter(self.template.tokenize(texts))
        trees = []
        for record in records:
            with bad_record(record):
                wholes = [self.answers.open(next(tokens)) for _ in (*record.responses, ())]
                trees.append(self._tree(record, wholes))
        return trees if max_length is None else [truncate(tree, max_length) for tree in trees]

    def encode_written(
        self,
        prompt: str | Tokens | None,
        texts: Sequence[str | Tokens],
        max_length: int | None = None,
    ) -> Tree:
        """Refuse: a question about a response is made of messages."""
        raise UserError("a generative reward model reads messages, not text that a template wrote")

    def encode_for_training(
        self, records: Sequence[Record], max_length: int | None = None
    ) -> list[Tree]:
        """Return the same trees; with λ > 0 the chosen responses follow as a chat."""
        trees = self.encode(records, max_length)
        if not self.options.likelihood_weight:
            return trees
        chats = self.template.encode(records, max_length)
        return [_join(tree, chat) for tree, chat in zip(trees, chats, strict=True)]

    def _ask(self, record: Record, response: Response) -> str:
        """Return I[x, y] as rendered text; earlier turns of a conversation stay turns before it."""
        before, between, after = FIELD.split(self.question)
        answer = "\n".join(message.content for message in response)
        prompt = record.prompt[-1].content
        turn = Message("user", before + prompt + between + answer + after)
        conversation = (*record.prompt[:-1], turn)
        arguments = record.template_arguments
        self.template.check_roles(conversation, open_response=True, arguments=arguments)
        return self.template.render(conversation, open_response=True, arguments=arguments)

    def _tree(self, record: Record, wholes: list[Tokens]) -> Tree:
        """Return a tree; `wholes` are the questions about every response and then an empty one."""
        shared = shared_length(*wholes)
        leaves = tuple(whole[shared:] for whole in wholes[:-1])
        closing = min(self._closing, *(len(leaf) - 1 for leaf in leaves))
        return Tree(
            record=record.id,
            nodes=(wholes[-1][:shared], *leaves),
            parents=(-1, *[0] * len(leaves)),
            chosen=len(record.chosen),
            rejected=len(record.rejected),
            lengths=tuple(len(leaf) - closing for leaf in leaves),
            head=self.template.head(wholes[-1]),
            opening=min(self._opening, shared - 1),
            closing=closing,
        )

    @cached_property
    def _closing(self) -> int:
        """Number of tokens after the response: the question's end and the generation prompt."""
        prompt, response = (Message("user", "a"),), (Message("assistant", WORDS),)
        text = self._ask(Record("", prompt, (response,), (), {}), response)
        closing = self.template.tokenize([text.rpartition(WORDS)[2]])[0]
        return max(1, len(closing) - len(self.answers.replaced) + len(self.answers.opening))

    @cached_property
    def answers(self) -> "Answers":
        """How the template writes Yes and No."""
        return Answers.of(self.template)

    @cached_property
    def _opening(self) -> int:
        """Number of tokens between prompt and response."""
        between = FIELD.split(self.question)[1].rstrip()
        return max(1, len(self.template.tokenize([between])[0]))


class Generative(TrainedRewardModel):
    """r(x, y) = π(Yes | I[x, y]), where I asks whether y answers x; the loss is eq. 7."""

    encoding = VerificationEncoding

    def __init__(self, language_model: LanguageModel, template: ChatTemplate, options: KindConfig):
        super().__init__(language_model, template, options)
        assert isinstance(self.encoder, VerificationEncoding)
        self.yes, self.no = self.encoder.answers.yes, self.encoder.answers.no

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Return the positions that predict the answer; with λ > 0 all, for the chosen response."""
        return None if self.options.likelihood_weight else pack.last_positions

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) probabilities of Yes."""
        return self._log_probs(states, self.yes).exp()

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses of eq. 7: −ln π(Yes | I⁺) − ln π(No | I⁻) − λ ln π(y⁺ | x)."""
        pack = states.pack
        losses = verification(
            self._log_probs(states, self.yes)[pack.chosen],
            self._log_probs(states, self.no)[pack.rejected],
        )
        if not self.options.likelihood_weight:
            return losses
        log_probs = self.vocabulary.log_probs(states.predicting_states, pack.response_tokens)
        texts = states.total(log_probs)[_plain_texts(pack)]
        return losses - self.options.likelihood_weight * texts

    def prefix_rewards(self, tree: Tree, reference: np.ndarray | None) -> list[torch.Tensor]:
        """Return π(Yes) for every partial response, in a question of its own."""

        def of_pack(batch: Pack, _: Sequence[Tree]) -> list[torch.Tensor]:
            return list(self.rewards(self.read(batch, self.positions(batch))))

        rewards = []
        for leaf, length in zip(tree.leaves, tree.lengths, strict=True):
            tokens = tree.nodes[leaf]
            answer, closing = tokens[: -tree.closing], tokens[-tree.closing :]
            partial = replace(tree, parents=(-1, 0), chosen=1, rejected=0)
            trees = [
                replace(partial, nodes=(tree.nodes[0], answer[: k + 1] + closing))
                for k in range(min(length, len(answer)))
            ]
            rewards.append(torch.stack(map_trees(trees, of_pack, None, self.device, "prefixes")))
        return rewards

    def _log_probs(self, states: ResponseStates, token: int) -> torch.Tensor:
        last = states.last
        tokens = torch.full((len(last),), token, device=last.device)
        return self.vocabulary.log_probs(last, tokens)

    equation = "eq. 8"
    coefficient = "γ"
    pointwise = True

    def gradient_terms(self, pack: Pack) -> Terms:
        """Return ln π(Yes), of which the reward is the exponential."""
        return Terms.at_last_tokens(pack, torch.full_like(pack.response_lengths, self.yes))

    def reward_slopes(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return π(Yes), its own derivative by ln π(Yes)."""
        return rewards

    def loss_terms(self, pack: Pack) -> Terms:
        """Return ln π(Yes) of chosen and ln π(No) of rejected responses, ln π of plain text (λ)."""
        answers = torch.full_like(pack.response_lengths, self.yes)
        answers[pack.rejected] = self.no
        at_end, in_text = Terms.at_last_tokens(pack, answers), Terms.of_log_probs(pack, 1.0)
        is_text = ~pack.rewarded
        return at_end.select(~is_text).join(in_text.select(is_text[in_text.responses]))

    def pulls(self, pack: Pack) -> tuple[Pull, ...]:
        """Eq. 7 raises the log-probability of both answers, and λ that of the chosen response."""
        pulls = (Pull("chosen", pack.chosen, 1.0), Pull("rejected", pack.rejected, 1.0))
        weight = self.options.likelihood_weight
        if not weight:
            return pulls
        return (*pulls, Pull("chosen as plain text", _plain_texts(pack), weight))

    def score_terms(self, pack: Pack) -> Terms:
        """Return the log-odds ln π(Yes) − ln π(No), in which the normaliser cancels.

        They rank responses as π(Yes) does once Yes and No take all the probability. While π(Yes) is
        small, a first step of eq. 8 lowers all other words for chosen and rejected responses alike,
        which moves it by as much as the choice does.
        """
        return Terms.at_last_tokens(pack, logits={self.yes: 1.0, self.no: -1.0})

    def scores(self, states: ResponseStates) -> torch.Tensor:
        """Return the (L,) log-odds."""
        answers = torch.tensor([self.yes, self.no], device=states.hidden.device)
        logits = self.vocabulary.logits_of(states.last, answers.expand(len(states.last), 2))
        return logits[:, 0] - logits[:, 1]


def _plain_texts(pack: Pack) -> torch.Tensor:
    """Return (P,) indices, among the L responses, of the chosen ones that `_join` appends."""
    return pack.chosen + pack.responses_in_record[pack.chosen]


def _join(tree: Tree, chat: Tree) -> Tree:
    """Return `tree` with the prompt and the chosen responses of `chat` as further nodes."""
    first = len(tree.nodes)
    kept = sorted({node for leaf in chat.leaves[: chat.chosen] for node in chat.path(leaf)})
    places = {-1: -1} | {node: first + place for place, node in enumerate(kept)}
    return replace(
        tree,
        nodes=tree.nodes + tuple(chat.nodes[node] for node in kept),
        parents=tree.parents + tuple(places[chat.parents[node]] for node in kept),
        truncated=tree.truncated or chat.truncated,
        moved=chat.moved,
    )
