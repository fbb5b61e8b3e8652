"""`python -m benchmarks.trl_reward_function`: our reward function in a few steps of TRL's trainers.

Runs in the environment of the peers. GRPO, RLOO and online DPO train a policy for a few steps on
made-up questions, once conversational and once as plain text; what TRL logs as the mean reward of a
step must be the mean of the rewards that `Scorer.score` gives the same completions.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from benchmarks.serving import make_model
from rewardgap.scoring.reward_function import RewardFunction, reward_function

QUESTIONS = (
    "Is it so?",
    "Do you like to help people?",
    "What is two plus two?",
    "Is the fox quick?",
)
GROUP = 4


@dataclass(frozen=True)
class Algorithm:
    """A trainer of TRL that takes `reward_funcs`.

    Attributes:
        trainer: Its class.
        config: The class of its arguments.
        logged: The name of the mean reward in its log, with {} for the name of the function.
        options: Arguments beside those that all of them have.
    """

    trainer: Any
    config: Any
    logged: str
    options: Mapping[str, Any] = field(default_factory=dict)


GROUPED = {"num_generations": GROUP, "max_completion_length": 12}
ALGORITHMS = {
    "GRPO": Algorithm(GRPOTrainer, GRPOConfig, "rewards/{}/mean", GROUPED),
    "RLOO": Algorithm(RLOOTrainer, RLOOConfig, "rewards/{}/mean", GROUPED),
    "online DPO": Algorithm(
        OnlineDPOTrainer, OnlineDPOConfig, "objective/scores", {"max_new_tokens": 12}
    ),
}


class Checked(RewardFunction):
    """A reward function that keeps its means, and compares each reward with `Scorer.score`."""

    def __init__(self, function: RewardFunction):
        super().__init__(function.scorer, function.__name__)
        self.means: list[float] = []
        self.apart = 0.0

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        """Return the rewards."""
        rewards = super().__call__(prompts, completions, **columns)
        self.means.append(float(np.mean(rewards)))
        for prompt, completion, reward in zip(prompts, completions, rewards, strict=True):
            text = completion if isinstance(completion, str) else completion[0]["content"]
            (alone,) = self.scorer.score(prompt, text)
            self.apart = max(self.apart, abs(alone - reward))
        return rewards


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", required=True, help="the policy, and the reward model's body")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        rewards = reward_function(str(make_model(arguments.model, Path(folder) / "reward")))
        for name, algorithm in ALGORITHMS.items():
            for form in ("conversational", "plain"):
                checked = Checked(rewards)
                out = Path(folder) / f"{name}-{form}"
                logged = _train(arguments, out, algorithm, checked, form == "conversational")
                print(f"{name}, {form}: mean rewards logged {logged}, given {checked.means}")
                print(f"  largest difference from Scorer.score: {checked.apart:.2g}")
                assert len(logged) == arguments.steps and checked.apart < 1e-5
                assert np.allclose(logged, checked.means, atol=1e-5)


def _train(
    arguments: argparse.Namespace,
    folder: Path,
    algorithm: Algorithm,
    rewards: RewardFunction,
    is_chat: bool,
) -> list[float]:
    """Return the mean rewards that TRL logs for every step."""
    prompts = [[{"role": "user", "content": q}] if is_chat else q for q in QUESTIONS]
    trainer = algorithm.trainer(
        model=arguments.model,
        reward_funcs=rewards,
        processing_class=AutoTokenizer.from_pretrained(arguments.model, padding_side="left"),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        args=algorithm.config(
            output_dir=str(folder),
            per_device_train_batch_size=2 * GROUP,
            max_steps=arguments.steps,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            **algorithm.options,
        ),
    )
    trainer.train()
    name = algorithm.logged.format(rewards.__name__)
    return [row[name] for row in trainer.state.log_history if name in row]


if __name__ == "__main__":
    main()
