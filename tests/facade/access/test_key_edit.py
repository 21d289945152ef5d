"""Keys are added and removed without touching what else somebody wrote."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from facade.access.key_edit import locked, with_key, with_tier, without_key, write_text
from facade.access.key_reader import read_text
from facade.access.key_text import parse_keys
from facade.access.keys import KeysInvalid, to_digest

COMMENTED = f"""# limits agreed in spring
tiers:
  t: {{}}  # open
keys:
  # the first customer
  - name: alice
    sha256: "{to_digest("alice").hex()}"
    tier: t
    models:
      - "mini*"  # only small ones
  # the second customer
  - {{name: bob, sha256: "{to_digest("bob").hex()}", tier: t}}
# the end
"""


def entry(name: str) -> dict[str, object]:
    """Make the fields of a key whose secret is its name."""
    return {"name": name, "sha256": to_digest(name).hex(), "tier": "t"}


def test_a_new_key_goes_below_the_last_and_all_else_stays() -> None:
    """The text differs by one line."""
    after = with_key(COMMENTED, entry("carol"))
    before_lines, after_lines = COMMENTED.splitlines(), after.splitlines()
    added = [line for line in after_lines if line not in before_lines]
    assert len(added) == 1
    assert [line for line in after_lines if line not in added] == before_lines
    assert after_lines.index(added[0]) == len(before_lines) - 1
    assert list(parse_keys(after).keys) == ["alice", "bob", "carol"]


def test_a_removed_key_takes_its_own_lines_only() -> None:
    """Comments and other keys stay, whichever key goes."""
    assert "# only small ones" not in (without_alice := without_key(COMMENTED, "alice"))
    assert list(parse_keys(without_alice).keys) == ["bob"]
    assert "# the second customer" in without_alice
    without_bob = without_key(COMMENTED, "bob")
    assert without_bob == COMMENTED.replace(COMMENTED.splitlines(keepends=True)[-2], "")


@pytest.mark.parametrize(
    "text",
    [
        "tiers: {t: {}}",
        "tiers: {t: {}}\nkeys:\n",
        "tiers: {t: {}}\nkeys: []\n",
        "{tiers: {t: {}}, keys: []}",
        "keys: []\ntiers:\n  t: {}\n",
        f"keys:\n- name: z\n  tier: t\n  sha256: '{to_digest('z').hex()}'\ntiers:\n  t: {{}}",
        f"tiers: {{t: {{}}}}\nkeys:\n-\n  name: z\n  tier: t\n  sha256: |-\n    {to_digest('z').hex()}",
        "---\ntiers: {t: {}}\n...\n",
    ],
)
def test_whatever_the_layout_the_meaning_is_right(text: str) -> None:
    """A key that is added and removed again leaves the same keys and tiers."""
    before = parse_keys(text)
    added = with_key(text, entry("carol"))
    assert set(parse_keys(added).keys) == {*before.keys, "carol"}
    removed = parse_keys(without_key(added, "carol"))
    assert removed.keys == before.keys
    assert removed.tiers == before.tiers


def test_an_edit_that_would_break_the_file_is_refused() -> None:
    """A name that is taken, a tier that doesn't exist and a name that isn't there are errors."""
    with pytest.raises(KeysInvalid, match="used twice"):
        with_key(COMMENTED, entry("bob"))
    with pytest.raises(KeysInvalid, match="no tier 'gold'"):
        with_key(COMMENTED, {**entry("carol"), "tier": "gold"})
    with pytest.raises(KeysInvalid, match="no key 'carol'"):
        without_key(COMMENTED, "carol")
    with pytest.raises(KeysInvalid, match="unknown field"):
        with_key("teirs: {}", entry("carol"))


def test_an_empty_file_begins_with_a_tier() -> None:
    """Only a file with nothing in it gets one."""
    assert list(parse_keys(with_tier(" \n", "t")).tiers) == ["t"]
    assert with_tier(COMMENTED, "other") == COMMENTED


def test_the_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """Mode 600, a link stays a link, a failure leaves the old file and no litter."""
    target = tmp_path / "real.yaml"
    target.write_text("old")
    target.chmod(0o644)
    link = tmp_path / "keys.yaml"
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_text(link, "\udc80")
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.yaml", "real.yaml"]


def add_keys(path: Path, prefix: str) -> None:
    """Add ten keys, one edit each."""
    for number in range(10):
        with locked(path):
            write_text(path, with_key(read_text(path), entry(f"{prefix}{number}")))


def test_editors_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Four processes that add ten keys each leave forty more."""
    path = tmp_path / "keys.yaml"
    path.write_text(COMMENTED)
    context = multiprocessing.get_context("spawn")
    editors = [context.Process(target=add_keys, args=(path, prefix)) for prefix in "wxyz"]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join(60)
    assert [editor.exitcode for editor in editors] == [0] * 4
    assert len(parse_keys(path.read_text())) == 42
