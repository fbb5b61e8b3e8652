"""Checks of the numbers in a configuration."""

from rewardgap.errors import UserError


def at_least(config: object, least: int, *names: str) -> None:
    """Refuse values below `least`; None is allowed."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}; it is {value}")


def positive(config: object, *names: str) -> None:
    """Refuse values that are not positive; None is allowed."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise UserError(f"{name} must be positive; it is {value}")
