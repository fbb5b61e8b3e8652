"""Checks of numbers in configurations."""

from rewardgap.errors import UserError


def at_least(config: object, least: int, *names: str) -> None:
    """Refuse a value that is too small; None is not a value.

    Raises:
        UserError: one of the named keys is below `least`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}; it is {value}")


def positive(config: object, *names: str) -> None:
    """Refuse a value that is not positive; None is not a value.

    Raises:
        UserError: one of the named keys is zero, negative or not a number.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise UserError(f"{name} must be positive; it is {value}")
