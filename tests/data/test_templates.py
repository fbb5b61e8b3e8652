"""The chat templates that have a name."""

from rewardgap.cli import main
from rewardgap.data.templates import TEMPLATES


def test_the_help_names_every_template(capsys):
    assert main(["score", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"or one of {', '.join(TEMPLATES)};" in text
