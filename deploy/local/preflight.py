"""
What a machine must offer before anything is installed, each gap told in one sentence with its remedy.

`observe` is the only part that looks at the machine. `find_problems` is pure, so every gap can be tried.
Runs on the system's own Python, possibly an old one, and on the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import os
import platform
import shutil
import socket
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

EXIT_UNSUPPORTED = 2
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
OLDEST_GLIBC = (2, 35)
"""Triton's wheel is tagged manylinux_2_35."""

FRESH_INSTALL_BYTES = 6 * 1024**3
"""Disk for both environments, the model and pip's temporary files."""

SHARED_MEMORY_BYTES = 64 * 1024**2
"""Each model instance takes 1 MiB to begin with and grows with its batches."""

DEFAULT_PORTS = {
    "PORT": 8080,
    "TRITON_HTTP_PORT": 8000,
    "TRITON_GRPC_PORT": 8001,
    "TRITON_METRICS_PORT": 8002,
}
"""The façade's own port and Triton's three, by the variable that changes them."""

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the kernel's own place for shared memory


@dataclass(frozen=True)
class Facts:
    """What was seen of the machine."""

    system: str
    """Operating system, as `platform.system` names it."""

    machine: str
    """Processor family, such as x86_64."""

    has_avx2: bool
    """Whether the processor knows AVX2."""

    glibc: tuple[int, int] | None
    """Version of the GNU C library; None with another library, such as musl."""

    python: tuple[int, int]
    """Minor version of the Python that runs this."""

    has_venv: bool
    """Whether `venv` and `ensurepip` are there; Debian ships them apart."""

    libpython_dir: str | None
    """Where libpython was loaded from: a folder, "" for the linker's own cache, None if it can't be loaded."""

    free_disk_bytes: int
    """Free space on the disk of the checkout."""

    is_installed: bool
    """Whether the environments are there already, so that little disk is needed."""

    free_shared_memory_bytes: int | None
    """Free space in /dev/shm; None if it is not there or not writable."""

    ports: dict[str, int] = field(default_factory=dict)
    """Port by variable name."""

    port_errors: dict[str, str] = field(default_factory=dict)
    """Why a port can't be listened on, by variable name; without those that can."""


def find_problems(facts: Facts) -> list[str]:
    """
    Tell what stands in the way.

    Args:
        facts: What was seen of the machine.

    Returns:
        One sentence a problem, with its remedy; empty if all is well.
    """
    problems = _platform_problems(facts)
    if problems:
        # On the wrong kind of machine, everything below would only be noise.
        return problems
    return [*_python_problems(facts), *_space_problems(facts), *_port_problems(facts)]


def _platform_problems(facts: Facts) -> list[str]:
    if facts.system != "Linux":
        return [
            (
                f"Triton's wheel runs on Linux, and this is {facts.system}: use a Linux machine, WSL 2 or a "
                f"virtual machine."
            )
        ]
    if facts.machine not in {"x86_64", "AMD64"}:
        return [
            (
                f"Triton's wheel is built for x86-64 processors, and this one is {facts.machine}: use an "
                f"x86-64 machine."
            )
        ]
    if not facts.has_avx2:
        return [
            (
                "This processor has no AVX2, without which the model can't be run: use a processor of 2013 or "
                "later, or let the virtual machine pass the host's features on."
            )
        ]
    if facts.glibc is None:
        return ["The C library here is not glibc: use a distribution such as Debian 12 or Ubuntu 22.04."]
    if facts.glibc < OLDEST_GLIBC:
        return [
            (
                f"Triton's wheel needs glibc {_dotted(OLDEST_GLIBC)} or later, and this is "
                f"{_dotted(facts.glibc)}: use Debian 12, Ubuntu 22.04 or later."
            )
        ]
    return []


def _python_problems(facts: Facts) -> list[str]:
    version = _dotted(facts.python)
    if not OLDEST_PYTHON <= facts.python <= NEWEST_PYTHON:
        return [
            (
                f"Python {_dotted(OLDEST_PYTHON)} to {_dotted(NEWEST_PYTHON)} is needed, and this is {version}: "
                f"name another one, as in `make serve PYTHON=python3.12`."
            )
        ]
    problems = []
    if not facts.has_venv:
        problems.append(
            f"Python {version} has no working venv module: install it, on Debian and Ubuntu with "
            f"`apt install python{version}-venv`."
        )
    if facts.libpython_dir is None:
        problems.append(
            f"libpython{version}.so.1.0 can't be loaded, and Triton runs its models with it: install it, on "
            f"Debian and Ubuntu with `apt install libpython{version}`, or use a Python built with "
            f"--enable-shared."
        )
    return problems


def _space_problems(facts: Facts) -> list[str]:
    problems = []
    needed_bytes = FRESH_INSTALL_BYTES // 10 if facts.is_installed else FRESH_INSTALL_BYTES
    if facts.free_disk_bytes < needed_bytes:
        problems.append(
            f"{needed_bytes / 1024**3:.1f} GiB of free disk are needed in this folder, and there are "
            f"{facts.free_disk_bytes / 1024**3:.1f}: free some, or move the checkout to another disk."
        )
    if facts.free_shared_memory_bytes is None:
        problems.append(
            f"{_SHARED_MEMORY} can't be written to, and Triton talks to its models through it: mount a tmpfs there, "
            "in a container with `--shm-size=256m`."
        )
    elif facts.free_shared_memory_bytes < SHARED_MEMORY_BYTES:
        problems.append(
            f"{_SHARED_MEMORY} has {facts.free_shared_memory_bytes / 1024**2:.0f} MiB free and Triton needs "
            f"{SHARED_MEMORY_BYTES / 1024**2:.0f}: remove stale files there or enlarge it, in a container "
            f"with `--shm-size=256m`."
        )
    return problems


def _port_problems(facts: Facts) -> list[str]:
    problems = []
    seen: dict[int, str] = {}
    for variable, port in facts.ports.items():
        if port in seen:
            problems.append(
                f"{variable} and {seen[port]} are both {port}: set another, as in "
                f"`make serve {variable}={_other_port(facts)}`."
            )
        elif variable in facts.port_errors:
            problems.append(
                f"Port {port} can't be used, {facts.port_errors[variable]}: free it, or set another with "
                f"`make serve {variable}={_other_port(facts)}`."
            )
        seen.setdefault(port, variable)
    return problems


def _other_port(facts: Facts) -> int:
    return next(port for port in range(18080, 19080) if port not in facts.ports.values())


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def read_ports(environment: dict[str, str]) -> dict[str, int]:
    """
    Read the ports that the user asked for.

    Args:
        environment: Where the variables are looked up; empty ones count as unset.

    Returns:
        Port by variable name.

    Raises:
        ValueError: If a value is no port number; the message names the variable.
    """
    ports = {}
    for variable, default in DEFAULT_PORTS.items():
        text = environment.get(variable, "").strip() or str(default)
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:  # noqa: PLR2004
            raise ValueError(f"{variable} must be a port number from 1 to 65535, and {text!r} is none.")
        ports[variable] = int(text)
    return ports


def check_key(key: str) -> None:
    """
    Make sure that an API key can be sent.

    Args:
        key: What the user chose; empty for a random one.

    Raises:
        ValueError: If it has characters that an HTTP header can't carry.
    """
    if not all("!" <= character <= "~" for character in key):
        raise ValueError("API_KEY must be made of visible ASCII characters: it travels in an HTTP header.")


def observe(root: Path, ports: dict[str, int], host: str, *, is_installed: bool) -> Facts:
    """
    Look at this machine.

    Args:
        root: The checkout.

        ports: Port by variable name.

        host: Address the façade will listen on; Triton's ports are always on the loopback address.

        is_installed: Whether the environments are there already.

    Returns:
        The facts.
    """
    return Facts(
        system=platform.system(),
        machine=platform.machine(),
        has_avx2=_has_avx2(),
        glibc=_glibc_version(),
        python=(sys.version_info[0], sys.version_info[1]),
        has_venv=all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
        libpython_dir=find_libpython_dir(),
        free_disk_bytes=shutil.disk_usage(root).free,
        is_installed=is_installed,
        free_shared_memory_bytes=_free_shared_memory_bytes(),
        ports=ports,
        port_errors=_find_port_errors(ports, host),
    )


def _find_port_errors(ports: dict[str, int], host: str) -> dict[str, str]:
    errors = {}
    for variable, port in ports.items():
        error = find_port_error(host if variable == "PORT" else "127.0.0.1", port)
        if error is not None:
            errors[variable] = error
    return errors


def find_libpython_dir() -> str | None:
    """
    Find the shared library of the running Python, which Triton's stub is linked to.

    Returns:
        "" if the linker finds it by itself, the folder it is in otherwise, None if there is none.
    """
    found = find_libpython()
    if found is not None:
        return "" if _is_system_folder(found.parent) else str(found.parent)
    with contextlib.suppress(OSError):
        ctypes.CDLL(_libpython_name())
        return ""
    return None


def find_libpython() -> Path | None:
    """
    Find the file of the running Python's shared library.

    Returns:
        The file; None if it isn't where this Python says, which doesn't mean that the linker can't find it.
    """
    # A shared build keeps the library beside itself; that is looked at first, because this very process has
    # it loaded and would "find" it by name even where a program of another folder does not.
    folder = sysconfig.get_config_var("LIBDIR")
    candidates = [Path(folder)] if folder else []
    candidates.append(Path(sys.base_prefix) / "lib")
    return next((path for at in candidates if (path := at / _libpython_name()).exists()), None)


def _libpython_name() -> str:
    return f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"


def _is_system_folder(folder: Path) -> bool:
    return folder.resolve().as_posix().startswith(("/usr/lib", "/lib"))


def find_port_error(host: str, port: int) -> str | None:
    """
    Try whether a server could listen on a port.

    Args:
        host: Address or name to listen on.

        port: Port number.

    Returns:
        The reason why not, in a few words; None if it could.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            # As servers do: a connection of a former run that lingers in TIME_WAIT is no obstacle.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens on it"
        return f"{error.strerror} at {host}"
    return None


def _has_avx2() -> bool:
    with contextlib.suppress(OSError):
        return " avx2 " in Path("/proc/cpuinfo").read_text().replace("\n", " \n")
    return False


def _glibc_version() -> tuple[int, int] | None:
    # Not platform.libc_ver, which guesses from the symbols of the interpreter.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = version.split(".")[:2]
        if library == "glibc":
            return int(major), int(minor)
    return None


def _free_shared_memory_bytes() -> int | None:
    if not os.access(_SHARED_MEMORY, os.W_OK):
        return None
    with contextlib.suppress(OSError):
        return shutil.disk_usage(_SHARED_MEMORY).free
    return None


def main(arguments: list[str]) -> int:
    """
    Check from the command line, without the ports.

    Args:
        arguments: ``--only-libpython`` asks for nothing but the shared library.

    Returns:
        0 if all is well, 2 otherwise.
    """
    if arguments == ["--only-libpython"]:
        return 0 if find_libpython_dir() is not None else EXIT_UNSUPPORTED
    problems = find_problems(observe(Path.cwd(), {}, "127.0.0.1", is_installed=False))
    for problem in problems:
        print(problem, file=sys.stderr)
    return EXIT_UNSUPPORTED if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
