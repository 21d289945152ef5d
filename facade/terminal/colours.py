"""
Whether to write colours: only to a terminal, unless the environment says otherwise.

Source:
    https://no-color.org: "when present and not an empty string"; FORCE_COLOR is its opposite.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def choose_colour(variables: Mapping[str, str] = os.environ) -> bool | None:
    """
    Read what the environment says of colours.

    Args:
        variables: The environment.

    Returns:
        False for none, True for colours whatever the stream is, None where it depends on the stream; as
        `click.Context.color` has it.
    """
    if variables.get("NO_COLOR"):
        return False
    if variables.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return False if variables.get("TERM") == "dumb" else None
