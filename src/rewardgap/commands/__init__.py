"""The registry of commands, in the order in which the overview lists them.

A new command is a class in `configs` and a file here.
"""

from rewardgap.commands.check import CHECK_DATA, CHECK_MODEL
from rewardgap.commands.ches import CHES
from rewardgap.commands.command import Command
from rewardgap.commands.demo import DEMO
from rewardgap.commands.explain import EXPLAIN
from rewardgap.commands.forecast import FORECAST
from rewardgap.commands.merge import MERGE
from rewardgap.commands.metrics import METRICS
from rewardgap.commands.plan import PLAN
from rewardgap.commands.pretrain import PRETRAIN
from rewardgap.commands.push import PUSH
from rewardgap.commands.rank import RANK
from rewardgap.commands.report import REPORT
from rewardgap.commands.rewrite import REWRITE
from rewardgap.commands.robustness import ROBUSTNESS
from rewardgap.commands.run import RUN
from rewardgap.commands.score import SCORE
from rewardgap.commands.serve import SERVE
from rewardgap.commands.shift import SHIFT, SHIFT_LIST
from rewardgap.commands.theory import THEORY
from rewardgap.commands.train import TRAIN

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        *(DEMO, TRAIN, SCORE, RANK, METRICS, CHECK_DATA, CHECK_MODEL, EXPLAIN, FORECAST),
        *(SHIFT, SHIFT_LIST, ROBUSTNESS, REWRITE, THEORY, REPORT, CHES, RUN, PLAN, PRETRAIN),
        *(SERVE, MERGE, PUSH),
    )
}
