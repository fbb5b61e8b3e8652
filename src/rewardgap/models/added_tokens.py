"""The initial language models of a grid, with the tokens that its data add."""

from pathlib import Path

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.io.files import remove_unfinished, whole_folder
from rewardgap.models.language_model import LanguageModel


def open_template(folder: Path, tokens: tuple[str, ...]) -> ChatTemplate:
    """Return the chat template of a model, with further tokens."""
    template = ChatTemplate.load(folder)
    template.tokenizer.add_tokens(list(tokens))
    return template


def extend_model(folder: Path, tokens: tuple[str, ...], extended: Path) -> None:
    """Save a language model with further tokens as another one, unless that was done before.

    The new embeddings are drawn from a fixed seed. What is trained and what it is compared with
    then begin as the same model.
    """
    if extended.is_dir():
        return
    remove_unfinished(extended.parent)
    template = open_template(folder, tokens)
    model = LanguageModel.load(folder, template)
    model.fit_embeddings(len(template.tokenizer))
    with whole_folder(extended) as unfinished:
        model.save(unfinished, template)
