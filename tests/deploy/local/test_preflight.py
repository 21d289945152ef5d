"""What the preflight says of a machine, gap by gap."""

from __future__ import annotations

import dataclasses
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local import preflight
from deploy.local.preflight import Facts, check_key, find_port_error, find_problems, observe, read_ports

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Facts(
    system="Linux",
    machine="x86_64",
    has_avx2=True,
    glibc=(2, 35),
    python=(3, 11),
    has_venv=True,
    libpython_dir="",
    free_disk_bytes=20 * 1024**3,
    is_installed=False,
    free_shared_memory_bytes=64 * 1024**2,
    ports={"PORT": 8080, "TRITON_HTTP_PORT": 8000, "TRITON_GRPC_PORT": 8001, "TRITON_METRICS_PORT": 8002},
)


def test_a_suitable_machine_has_no_problems() -> None:
    """The oldest glibc and Python and the least shared memory are enough."""
    assert find_problems(GOOD) == []


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ({"system": "Darwin"}, ["Linux", "Darwin", "virtual machine"]),
        ({"machine": "aarch64"}, ["x86-64", "aarch64"]),
        ({"has_avx2": False}, ["AVX2"]),
        ({"glibc": None}, ["glibc", "Debian 12"]),
        ({"glibc": (2, 31)}, ["2.35", "2.31", "Ubuntu 22.04"]),
        ({"python": (3, 10)}, ["3.11 to 3.13", "3.10", "PYTHON="]),
        ({"python": (3, 14)}, ["3.11 to 3.13", "3.14", "PYTHON="]),
        ({"has_venv": False}, ["venv", "apt install python3.11-venv"]),
        ({"libpython_dir": None}, ["libpython3.11.so.1.0", "apt install libpython3.11"]),
        ({"free_disk_bytes": 1024**3}, ["6.0 GiB", "1.0"]),
        ({"free_shared_memory_bytes": None}, ["/dev/shm", "--shm-size"]),
        ({"free_shared_memory_bytes": 1024**2}, ["/dev/shm", "1 MiB", "--shm-size"]),
        ({"port_errors": {"PORT": "another program listens on it"}}, ["8080", "PORT=18080"]),
        ({"port_errors": {"TRITON_GRPC_PORT": "denied"}}, ["8001", "denied", "TRITON_GRPC_PORT="]),
        ({"ports": {"PORT": 8000, "TRITON_HTTP_PORT": 8000}}, ["PORT", "both 8000", "TRITON_HTTP_PORT="]),
    ],
)
def test_each_gap_is_one_sentence_with_its_remedy(gap: dict[str, Any], words: list[str]) -> None:
    """One line says what is missing and what to do about it."""
    problems = find_problems(dataclasses.replace(GOOD, **gap))

    assert len(problems) == 1
    assert "\n" not in problems[0]
    assert problems[0].endswith(".")
    assert [word for word in words if word not in problems[0]] == []


def test_several_gaps_are_told_at_once() -> None:
    """Nobody has to repair one thing to hear of the next."""
    problems = find_problems(dataclasses.replace(GOOD, has_venv=False, libpython_dir=None, free_disk_bytes=0))

    assert len(problems) == 3


def test_an_installed_checkout_needs_less_disk() -> None:
    """A second start is not refused for want of the space that the first one took."""
    assert find_problems(dataclasses.replace(GOOD, is_installed=True, free_disk_bytes=1024**3)) == []


def test_ports_have_defaults_and_can_be_set() -> None:
    """An empty variable counts as unset."""
    ports = read_ports({"PORT": "9000", "TRITON_GRPC_PORT": ""})

    assert ports == {
        "PORT": 9000,
        "TRITON_HTTP_PORT": 8000,
        "TRITON_GRPC_PORT": 8001,
        "TRITON_METRICS_PORT": 8002,
    }


@pytest.mark.parametrize("text", ["0", "65536", "-1", "80x", "8080.0", "²"])
def test_what_is_no_port_is_refused_by_name(text: str) -> None:
    """The message names the variable and the value."""
    with pytest.raises(ValueError, match="TRITON_HTTP_PORT must be a port number") as caught:
        read_ports({"TRITON_HTTP_PORT": text})

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "schlüssel", "tab\t"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    """Such a key would be accepted at the start and by nobody afterwards."""
    with pytest.raises(ValueError, match="API_KEY"):
        check_key(key)


def test_a_taken_port_is_noticed() -> None:
    """A port on which somebody listens is another program's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        assert find_port_error("127.0.0.1", listener.getsockname()[1]) == "another program listens on it"


def test_a_port_on_which_nobody_listens_any_more_is_free() -> None:
    """The next start may follow at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

    assert find_port_error("127.0.0.1", port) is None


def test_an_address_of_another_machine_is_not_called_taken() -> None:
    """The reason is the system's own."""
    error = find_port_error("192.0.2.1", 18080)

    assert error is not None
    assert "192.0.2.1" in error


def test_this_machine_is_observed_as_it_is(tmp_path: Path) -> None:
    """The facts are those of the interpreter that runs the tests, and a taken port is among them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        facts = observe(tmp_path, {"PORT": port}, "127.0.0.1", is_installed=True)

    assert facts.python == sys.version_info[:2]
    assert facts.glibc is not None
    assert facts.free_disk_bytes > 0
    assert list(facts.port_errors) == ["PORT"]


def test_the_command_line_can_ask_for_libpython_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI learns from the exit code whether a package is missing."""
    monkeypatch.setattr(preflight, "find_libpython_dir", lambda: None)
    assert preflight.main(["--only-libpython"]) == 2

    monkeypatch.setattr(preflight, "find_libpython_dir", lambda: "")
    assert preflight.main(["--only-libpython"]) == 0
