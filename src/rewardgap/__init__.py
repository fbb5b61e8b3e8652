"""rewardgap: train, score and compare language-model reward models of every kind.

    import rewardgap
    model = rewardgap.load("runs/explicit")
    model.score("What is two plus two?", ["Four.", "Five."])

The verbs of the command line are functions here; each takes its configuration and returns what it
wrote. `__init__.pyi` lists the public names; each is imported when it is first used, so that
`import rewardgap` is quick.
"""

from typing import Any

import lazy_loader

__version__ = "0.1.0"
_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Return a public name; the class of a configuration explains its keys to `help`."""
    value: Any = _find(name)
    if name.endswith("Config"):
        from rewardgap.configs.keywords import document

        document(value)
    return value
