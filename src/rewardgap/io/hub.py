"""Whether the Hugging Face hub can be reached, so that without a network its cache is used."""

import os

from rewardgap.errors import first_line

SECONDS = 5
"""How long the hub may take to answer, unless $HF_HUB_ETAG_TIMEOUT says so."""


def hub_fault() -> str | None:
    """Return in a few seconds why the hub cannot be reached; None where it can.

    Its clients would ask again and again for half a minute, or wait without end where nothing
    answers.
    """
    from huggingface_hub import constants, get_session

    try:
        seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or SECONDS)
        get_session().head(constants.ENDPOINT, timeout=seconds)
    except Exception as error:  # its client raises httpx's errors, the system's and its own
        return first_line(error)
    return None
