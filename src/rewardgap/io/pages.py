"""Templates of pages, as the report, the forecast and the explanation write them."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_templates(package: str, folder: str = "") -> Environment:
    """Return the templates in a folder of a package, which escape all text and miss no value."""
    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
