"""
What pyproject.toml can't say: a wheel of the same files has the same bytes, whoever builds it.

A wheel keeps each file's mode, which is that of whoever checked out or built. Times are those of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class WheelWithOneMode(bdist_wheel):
    """A wheel whose files all may be read by all."""

    def write_wheelfile(self, wheelfile_base: str, **options: str) -> None:
        """Make the last of the wheel's files, then give all of them one mode."""
        super().write_wheelfile(wheelfile_base, **options)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


setup(cmdclass={"bdist_wheel": WheelWithOneMode})
