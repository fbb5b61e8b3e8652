"""The chat templates that have a name."""

import pytest

from rewardgap.cli import main
from rewardgap.data.templates import TEMPLATES


def test_the_help_names_every_template(capsys):
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"or one of {', '.join(TEMPLATES)};" in text
