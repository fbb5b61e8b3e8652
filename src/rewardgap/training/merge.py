"""Merging: the adapter of a run and its base become an ordinary model folder."""

from pathlib import Path

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.serving import MergeConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError
from rewardgap.io.files import whole_folder
from rewardgap.models.hub import ADAPTER
from rewardgap.models.saved import FILE, SavedRewardModel, find_saved
from rewardgap.training.model_card import CARD, merged_card


@by_keywords(MergeConfig)
def merge(config: MergeConfig) -> Path:
    """Write the merged model with all that a saved reward model has; return its folder.

    Rewards are those of the run, to rounding.

    Raises:
        UserError: There is no adapter of ours, its base is gone or has changed, or `out` exists.
    """
    folder, out = find_saved(config.run), Path(config.out)
    if out.exists():
        raise UserError(f"{out} exists already: choose another out")
    if not ((folder / FILE).exists() and (folder / ADAPTER).exists()):
        raise UserError(f"{config.run} holds no adapter of rewardgap: there is nothing to merge")
    saved = SavedRewardModel.find(folder, config.kind, KindConfig())
    if config.base is not None:
        saved = saved.with_initial_model(config.base)
    merged, model = saved.merge(folder)
    with whole_folder(out) as unfinished:
        merged.write_into(unfinished, model)
        if (folder / CARD).exists():
            text = (folder / CARD).read_text(encoding="utf-8")
            (unfinished / CARD).write_text(merged_card(text), encoding="utf-8")
    return out
