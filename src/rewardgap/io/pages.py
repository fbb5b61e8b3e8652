"""Templates of pages, as the report, the forecast and the explanation write them."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_templates(package: str, folder: str = "") -> Environment:
    """Return the templates in a folder of a package, which escape all text and miss no value.

    They may include `plain.css`, the style of pages of a few tables and pictures.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, folder), PackageLoader("rewardgap.io", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
