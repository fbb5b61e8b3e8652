"""Templates of pages, as the report, the forecast and the explanation write them."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_templates(package: str, folder: str = "", **filters: Any) -> Environment:
    """Return the templates in a folder of a package, which escape all text and miss no value.

    Besides those of Jinja they may use the `filters`, and they may include `plain.css`, the style
    of pages of a few tables and pictures.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, folder), PackageLoader("rewardgap.io", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment
