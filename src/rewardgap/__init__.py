"""rewardgap: train, score and compare language-model reward models of every kind.

    import rewardgap
    model = rewardgap.load("runs/explicit")
    model.score("What is two plus two?", ["Four.", "Five."])

The verbs of the command line are functions here; each takes its configuration and returns what it
wrote. `__init__.pyi` lists the public names; each is imported when it is first used, so that
`import rewardgap` is quick.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
