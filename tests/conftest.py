"""Fixtures that several test files share: tiny models, made once a session."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported: tests use no network

# Properties are of values: how long an example takes depends on what else the machine does.
settings.register_profile("values", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("values")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_model` by its arguments (architecture, pad, template, seed), saved on first use."""
    import torch
    from tiny import tiny_model

    torch.set_num_threads(1)  # threads cost tiny models more than they give

    @cache
    def make(*arguments: object) -> Path:
        return tiny_model(tmp_path_factory.mktemp("model"), *arguments)

    return make
