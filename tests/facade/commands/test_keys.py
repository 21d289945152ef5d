"""`triton-facade keys`, run as its user runs it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from facade.access.key_reader import read_keys
from facade.commands.keys import keys


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def run(path: Path, *arguments: str, stdin: str = "") -> Result:
    """Run one subcommand on *path*."""
    return CliRunner().invoke(keys, list(arguments), input=stdin, env={"FACADE_KEYS_FILE": str(path)})


def test_a_new_key_works_and_its_secret_is_nowhere_else(path: Path) -> None:
    """The printed secret finds the key with all it was given; the file doesn't contain it."""
    made = run(
        path, "new", "alice", "--models", "mini*", "--models", "chat", "--networks", "10.0.0.0/8",
        "--expires", "2100-01-01", "--scopes", "infer", "--scopes", "metrics",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert secret.startswith("tf_")
    assert len(secret) >= 35
    key = read_keys(path).find(secret)
    assert key is not None
    assert (key.name, key.tier, key.models, key.scopes) == (
        "alice", "default", ("mini*", "chat"), {"infer", "metrics"},
    )  # fmt: skip
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_whom_answers_are_kept_for_is_chosen_listed_and_checked(path: Path) -> None:
    """What --cache says is in the file, in the list and in the check; a word of one's own is refused."""
    secret = run(path, "new", "alice", "--cache", "private").stdout
    run(path, "new", "bob")
    listed = json.loads(run(path, "list", "--json").stdout)

    assert [row["cache"] for row in listed["keys"]] == ["private", None]
    assert [line.split()[-2] for line in run(path, "list").stdout.splitlines()] == ["cache", "private", "-"]
    assert "cache: private" in run(path, "check", "--secret", stdin=secret).stdout
    assert run(path, "new", "carol", "--cache", "public").exit_code == 2


def test_two_keys_have_two_secrets_and_json_carries_them(path: Path) -> None:
    """With --json the secret is the one field of its name."""
    secrets = [json.loads(run(path, "new", name, "--json").stdout)["secret"] for name in ("a", "b")]
    assert len(set(secrets)) == 2
    assert [read_keys(path).find(secret) is not None for secret in secrets] == [True, True]


def test_list_shows_keys_without_hashes(path: Path) -> None:
    """A table for people, JSON for programs, in neither a digest."""
    run(path, "new", "alice", "--networks", "10.0.0.0/8")
    run(path, "new", "old", "--expires", "2020-01-01")
    table = run(path, "list").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["name", "alice", "old"]
    assert table.splitlines()[2].endswith("expired")
    listed = json.loads(run(path, "list", "--json").stdout)
    assert [row["state"] for row in listed["keys"]] == ["active", "expired"]
    assert listed["tiers"][0]["name"] == "default"
    for key in read_keys(path).keys.values():
        assert key.digest.hex() not in table + json.dumps(listed)


def test_a_revoked_key_is_gone_and_the_others_stay(path: Path) -> None:
    """Revoking twice is an error that says so."""
    secrets = {name: run(path, "new", name).stdout.strip() for name in ("alice", "bob")}
    assert run(path, "revoke", "alice").exit_code == 0
    assert read_keys(path).find(secrets["alice"]) is None
    assert read_keys(path).find(secrets["bob"]) is not None
    again = run(path, "revoke", "alice")
    assert again.exit_code == 2
    assert "no key 'alice'" in again.stderr
    assert json.loads(run(path, "revoke", "bob", "--json").stdout) == {"name": "bob", "revoked": True}


def test_check_tells_valid_files_from_broken_ones(path: Path) -> None:
    """Exit code 2 and the place of the mistake."""
    run(path, "new", "alice")
    assert json.loads(run(path, "check", "--json").stdout) == {"valid": True, "keys": 1, "tiers": 1}
    assert "1 keys" in run(path, "check").stdout
    path.write_text("keys: [{name: a}]")
    broken = run(path, "check")
    assert broken.exit_code == 2
    assert "keys[0] 'a', field 'sha256': is missing" in broken.stderr
    assert run(path.with_name("absent.yaml"), "check").exit_code == 2


def test_check_tells_what_a_secret_may_do(path: Path) -> None:
    """The secret comes through standard input, never the command line; unknown and expired ones exit with 1."""
    secret = run(path, "new", "alice", "--scopes", "metrics").stdout
    expired = run(path, "new", "old", "--expires", "2020-01-01").stdout
    known = json.loads(run(path, "check", "--secret", "--json", stdin=secret).stdout)
    assert (known["name"], known["scopes"], known["limits"]["requests_per_minute"]) == (
        "alice",
        ["metrics"],
        None,
    )
    shown = run(path, "check", "--secret", stdin=secret)
    assert shown.exit_code == 0
    assert "scopes: metrics" in shown.stdout
    assert run(path, "check", "--secret", stdin=expired).exit_code == 1
    unknown = run(path, "check", "--secret", stdin="tf_guess\n")
    assert (unknown.exit_code, unknown.stdout) == (1, "no key has this secret\n")
    assert run(path, "check", "--secret", "--json", stdin="x").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [("--tier", "gold"), ("--expires", "soon"), ("--networks", "10.0.0.1/8"), ("--scopes", "root")],
)
def test_a_mistake_in_the_options_changes_nothing(path: Path, arguments: tuple[str, str]) -> None:
    """A refused key leaves the file as it was."""
    run(path, "new", "alice")
    before = path.read_text()
    assert run(path, "new", "bob", *arguments).exit_code == 2
    assert path.read_text() == before


def test_a_name_that_is_taken_is_refused(path: Path) -> None:
    """Making the same key twice can't replace the first one's secret."""
    run(path, "new", "alice")
    twice = run(path, "new", "alice")
    assert twice.exit_code == 2
    assert "used twice" in twice.stderr
    assert run(path, "revoke", "nobody").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--file", "/no/such/keys.yaml"), "`triton-facade keys new NAME --file /no/such/keys.yaml`"),
        (
            ("new", "b", "--file", "/no/such/keys.yaml"),
            "/no/such/keys.yaml: No such file or directory. Check",
        ),
        (("revoke", "nobody"), "`triton-facade keys list --file"),
        (("new", "alice"), "Choose another name"),
        (("new", "a b"), "Mend"),
        (("lst",), "Did you mean 'list'?"),
    ],
)
def test_each_refusal_says_what_to_do(path: Path, arguments: tuple[str, ...], words: str) -> None:
    """With exit code 2."""
    run(path, "new", "alice")
    refused = run(path, *arguments)

    assert refused.exit_code == 2
    assert words in refused.stderr


def test_without_a_file_it_is_asked_for() -> None:
    """Both ways of naming it are named."""
    refused = CliRunner().invoke(keys, ["list"], env={"FACADE_KEYS_FILE": None})

    assert refused.exit_code == 2
    assert "Give --file, or set FACADE_KEYS_FILE" in refused.stderr
