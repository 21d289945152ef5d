"""The page of the commands."""

from __future__ import annotations

from docs.reference import commands_page


def test_every_command_has_its_help() -> None:
    """Those below others too, at one width."""
    page = commands_page.write()

    for name in ("triton-facade", "triton-facade serve", "triton-facade keys new", "triton-export export"):
        assert f"\n## {name}\n\n```text\nUsage: {name} " in page
    assert max(map(len, page.partition("```text")[2].splitlines())) <= commands_page.WIDTH
