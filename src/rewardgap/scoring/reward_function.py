"""A reward model as a function that reinforcement learning calls, as TRL's trainers do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardgap.data.messages import ARGUMENTS, read_turns, template_arguments
from rewardgap.errors import UserError
from rewardgap.scoring.responses import ChatPrompt, Forest, PromptedResponse
from rewardgap.scoring.scorer import Scorer, as_one_model, load


class RewardFunction:
    """Returns rewards of completions; an entry of `reward_funcs` of a GRPO or RLOO trainer.

    Attributes:
        scorer: The reward model.
        __name__: What trainers call it in their logs.
    """

    def __init__(self, scorer: Scorer, name: str):
        self.scorer = scorer
        self.__name__ = name

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float]:
        """Return one raw reward per completion; a prompt that recurs is computed once.

        Args:
            prompts: Conversations as messages {role, content}, or texts: a user's words.
            completions: For each prompt what the assistant said, as messages or as a text.
            columns: Whatever else a trainer passes; of these, `tools` and `chat_template_kwargs`,
                lists with an item for each prompt, are given to the chat template.
        """
        if len(prompts) != len(completions):
            raise UserError(f"{len(prompts)} prompts and {len(completions)} completions")
        layouts = "a string or a list of messages"
        given = [key for key in ARGUMENTS if columns.get(key)]
        asked = [
            PromptedResponse(
                ChatPrompt(
                    read_turns(prompt, "prompts", "user", layouts),
                    json.dumps(template_arguments({k: columns[k][i] for k in given})),
                ),
                read_turns(completion, "completions", "assistant", layouts),
            )
            for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        forest = Forest.plant(self.scorer.model, asked, self.scorer.max_length)
        return forest.select(self.scorer.compute(forest.trees))


def reward_function(model: str, **options: Any) -> RewardFunction:
    """Open a reward model as a function for `reward_funcs` of TRL's trainers.

    Args:
        model: A run's folder, a saved reward model, or a hub id, as `rewardgap.load` takes it.
        options: Further arguments of `rewardgap.load`, such as `device`.

    Raises:
        UserError: The model cannot be found or read.
    """
    return RewardFunction(
        as_one_model(load(model, **options)), Path(model).expanduser().resolve().name
    )
