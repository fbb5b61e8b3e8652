"""The command rewrite: the same records with responses in other words or another language."""

from rewardgap.commands.command import Command, resume_grid, say

REWRITE = Command(
    "rewrite",
    ".rewriting.rewrite:rewrite",
    ".configs.rewriting:RewriteConfig",
    say,
    "rewardgap rewrite test.jsonl reworded.jsonl --instruction paraphrase --model MODEL "
    "--endpoint http://localhost:8000/v1",
    positional="data out",
    check=".rewriting.rewrite:refuse_wrong_settings",
    figures=lambda result: result.figures,
    resumed=resume_grid,
    imports_torch=False,
)
