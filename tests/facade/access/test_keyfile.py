"""The ring follows the file, and outlives a broken edit."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from facade.access import key_reader
from facade.access.keyfile import KeyFile, KeyFileStatus, look_at
from facade.access.keys import Key, KeysInvalid, to_digest


def text(*secrets: str, limit: int = 60) -> str:
    """Write a file whose keys are named as their secrets."""
    entries = "".join(f"  - {{name: {s}, sha256: '{to_digest(s).hex()}', tier: t}}\n" for s in secrets)
    return f"tiers: {{t: {{requests_per_minute: {limit}}}}}\nkeys:\n{entries}"


async def until_loads(loads: list[KeyFileStatus], count: int) -> None:
    """Wait until *count* attempts to load were reported."""
    deadline = time.monotonic() + 5
    while len(loads) < count:
        assert time.monotonic() < deadline, loads
        await asyncio.sleep(0.005)


def test_an_edit_holds_within_a_poll_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    """New keys come, removed ones go, limits change; a broken file keeps the last good ring and says why."""
    path = tmp_path / "keys.yaml"
    path.write_text(text("one"))
    loads: list[KeyFileStatus] = []

    async def follow() -> None:
        file = KeyFile(path, poll_every_s=0.01, on_load=loads.append)
        assert file.status.is_current
        held = file.find("one")
        assert held is not None
        file.start()
        file.start()
        path.write_text(text("one", "two", limit=5))
        await until_loads(loads, 1)
        assert file.find("two") is not None
        assert file.tier_of(held).requests_per_minute == 5
        path.write_text(text("two") + "  - {name: broken}\n")
        await until_loads(loads, 2)
        assert not file.status.is_current
        assert file.status.error == "keys[1] 'broken', field 'sha256': is missing"
        assert file.status.key_count == 2
        assert file.find("one") is not None
        replacement = tmp_path / "new"
        replacement.write_text(text("three"))
        replacement.replace(path)
        await until_loads(loads, 3)
        assert file.status.error is None
        assert (file.find("one"), file.find("three") is not None) == (None, True)
        path.unlink()
        await until_loads(loads, 4)
        assert "No such file" in str(file.status.error)
        assert file.find("three") is not None
        await file.aclose()
        await file.aclose()

    asyncio.run(follow())
    assert [load.is_current for load in loads] == [True, False, True, False]


def test_a_replaced_link_is_a_change(tmp_path: Path) -> None:
    """Kubernetes swaps a link to a folder, with the same size and times inside."""
    for version in ("a", "b"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "keys.yaml").write_text(text(version))
        os.utime(folder / "keys.yaml", ns=(1, 1))
    link = tmp_path / "current"
    link.symlink_to("a")
    before = look_at(link / "keys.yaml")
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").replace(link)
    assert look_at(link / "keys.yaml") != before


def test_nothing_is_read_while_nothing_changes(tmp_path: Path) -> None:
    """Polling an unchanged file loads nothing, and an explicit reload does."""
    path = tmp_path / "keys.yaml"
    path.write_text(text("one"))
    loads: list[KeyFileStatus] = []

    async def follow() -> None:
        file = KeyFile(path, poll_every_s=0.001, on_load=loads.append)
        file.start()
        await asyncio.sleep(0.05)  # some fifty polls, which must do nothing
        assert loads == []
        assert (await file.reload()).is_current
        await file.aclose()

    asyncio.run(follow())
    assert len(loads) == 1


@pytest.mark.parametrize("content", [None, b"keys: {", b"\xff\xfe"])
def test_a_start_with_a_bad_file_fails(tmp_path: Path, content: bytes | None) -> None:
    """Without a last good ring there is nothing to go on with."""
    path = tmp_path / "keys.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeysInvalid):
        KeyFile(path)


def test_a_tier_that_an_edit_removed_limits_nothing(tmp_path: Path) -> None:
    """A request under way whose key and tier are gone ends without an error."""
    path = tmp_path / "keys.yaml"
    path.write_text(text("one"))
    assert KeyFile(path).tier_of(Key("old", to_digest("old"), "gone")).is_unlimited


def test_a_reading_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large edit whose reader came to no end holds once a later try does, without another edit."""
    path = tmp_path / "keys.yaml"
    path.write_text(text("one"))
    loads: list[KeyFileStatus] = []

    async def follow() -> None:
        file = KeyFile(path, poll_every_s=0.01, on_load=loads.append)
        with monkeypatch.context() as patch:
            patch.setattr(key_reader, "LARGE_BYTES", 1)
            patch.setattr(key_reader, "READER_LIMIT_S", 0.001)
            path.write_text(text("two"))
            assert not (await file.reload()).is_current
        file.start()
        await until_loads(loads, 2)
        assert file.status.is_current
        assert file.find("two") is not None
        await file.aclose()

    asyncio.run(follow())
