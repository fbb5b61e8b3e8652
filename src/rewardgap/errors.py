"""The one exception that a user is meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


class UserError(Exception):
    """A mistake in the input: one line that names the file, row or key and the remedy.

    The command line prints it without a traceback and exits with status 2; Python callers
    catch it like any exception.
    """


class BadRecordError(UserError):
    """A record that cannot be used, and the reason; `bad_records: drop` leaves it out."""

    def __init__(self, record: str, reason: str):
        remedy = "choose another template or leave such records out with `bad_records: drop`"
        super().__init__(f"record {record}: {reason}; {remedy}")
        self.reason = reason


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name where it has none.

    Where that line only announces what follows, by a colon, the next one is added.
    """
    first, *further = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {further[0].strip()}" if further and first.endswith(":") else first


@contextmanager
def reported(
    errors: type[Exception] | tuple[type[Exception], ...], before: str, after: str = ""
) -> Iterator[None]:
    """Raise these errors as a `UserError`: the cause in a few words, between two texts."""
    try:
        yield
    except errors as error:
        cause = getattr(error, "strerror", None) or first_line(error)
        if isinstance(error, KeyError):
            cause = f"the key {cause} is missing"
        raise UserError(f"{before}{cause}{after}") from error


def require_package(module: str, extra: str, why: str) -> None:
    """Refuse what needs a package that is not installed; name the extra that installs it."""
    if find_spec(module) is None:
        raise UserError(f"{why}, which needs {module}: pip install 'rewardgap[{extra}]'")
