"""Results of commands as a notebook shows them: in one line, as a table, as a data frame."""

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

SHOWN = 20
"""Rows of a table in a notebook."""


class NotebookResult:
    """What a command returns; `repr` is one line, `str` is what the command line prints."""

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the result as mappings from column to value."""
        raise NotImplementedError

    def to_frame(self) -> "pandas.DataFrame":
        """Return the rows as a data frame of pandas."""
        import pandas

        return pandas.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(
            index=False, border=0, na_rep="", max_rows=SHOWN, float_format="{:.3f}".format
        )
        return f"<p>{escape(repr(self))}</p>{table}"
