"""The page on security names tests that exist."""

from __future__ import annotations

import re

from deploy.local.triton import CHECKOUT


def test_each_test_that_is_named_exists() -> None:
    """A claim whose test was renamed or removed must not go on being made."""
    page = (CHECKOUT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    defined = {
        name
        for path in (CHECKOUT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }

    assert len(named) > 40
    assert named <= defined, named - defined


def test_each_claim_names_a_test() -> None:
    """Under "Claims", each point of a list ends in one."""
    page = (CHECKOUT / "docs" / "security.md").read_text()
    claims = page.partition("## Claims")[2].partition("\n## ")[0]

    for claim in re.split(r"^\* ", claims, flags=re.MULTILINE)[1:]:
        assert re.search(r"`test_\w+`", claim), claim
