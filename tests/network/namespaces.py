"""A network namespace for one server, and what can go wrong on the way to it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

INSIDE = "eth0"
"""The interface in the namespace."""


def why_impossible() -> str | None:
    """
    Say why namespaces can't be made here.

    Returns:
        The reason; None if they can.
    """
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "iptables", "tc"):
        if shutil.which(program) is None:
            return f"network namespaces need {program}"
    name = f"tf-try-{secrets.token_hex(3)}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"ip netns add: {tried.stderr.strip()}"
    _run("ip", "netns", "delete", name)
    return None


class Namespace:
    """A network of its own with one address, connected to this machine's by a cable; gone at the end."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(3)
        self.name = f"tf-{self._token}"
        # 198.18.0.0/15 is for tests between networks (RFC 2544); nobody's own.
        network = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
        last = 4 * secrets.randbelow(64)
        self._outside, self.address = f"{network}.{last + 1}", f"{network}.{last + 2}"

    @property
    def prefix(self) -> list[str]:
        """What runs the command behind it in the namespace."""
        return [shutil.which("ip") or "ip", "netns", "exec", self.name]

    def __enter__(self) -> Self:
        cable = f"tf{self._token}"
        _run("ip", "netns", "add", self.name)
        try:
            _run("ip", "link", "add", cable, "type", "veth", "peer", "name", INSIDE, "netns", self.name)
            _run("ip", "address", "add", f"{self._outside}/30", "dev", cable)
            _run("ip", "link", "set", cable, "up")
            _run("ip", "-n", self.name, "address", "add", f"{self.address}/30", "dev", INSIDE)
            for link in (INSIDE, "lo"):
                _run("ip", "-n", self.name, "link", "set", link, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The cable goes with its end.
        _run("ip", "netns", "delete", self.name)

    def cut(self) -> None:
        """Drop everything, both ways, without a word."""
        self._filter(["-j", "DROP"])

    def lose(self, share: float) -> None:
        """Drop a share of the packets, at random, both ways."""
        self._filter(["-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"])

    def reset(self, port: int) -> None:
        """Answer whatever comes to a port with a reset."""
        rule = ["-p", "tcp", "--dport", str(port), "-j", "REJECT", "--reject-with", "tcp-reset"]
        _run(*self.prefix, "iptables", "-A", "INPUT", *rule)

    def throttle(self, bits_per_s: int) -> None:
        """Let no more than so many bits a second out; the rest waits."""
        rate = ["rate", f"{bits_per_s}bit", "burst", "2kb", "latency", "5s"]
        _run(*self.prefix, "tc", "qdisc", "add", "dev", INSIDE, "root", "tbf", *rate)

    def heal(self) -> None:
        """End all of it."""
        _run(*self.prefix, "iptables", "-F")
        if "tbf" in _run(*self.prefix, "tc", "qdisc", "show", "dev", INSIDE):
            _run(*self.prefix, "tc", "qdisc", "delete", "dev", INSIDE, "root")

    def _filter(self, rule: Sequence[str]) -> None:
        _run(*self.prefix, "iptables", "-A", "INPUT", "-i", INSIDE, *rule)
        _run(*self.prefix, "iptables", "-A", "OUTPUT", "-o", INSIDE, *rule)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
