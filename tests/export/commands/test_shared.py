"""What all commands do alike."""

from __future__ import annotations

import pytest

from export.commands.shared import errors_to_exit_codes
from export.errors import ParityFailed


def test_an_error_is_a_sentence_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback."""
    with pytest.raises(SystemExit) as ended, errors_to_exit_codes():
        raise ParityFailed("It differs.")

    assert ended.value.code == ParityFailed.exit_code
    assert capsys.readouterr().err == "Error: It differs.\n"


def test_a_package_of_the_extra_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With what installs it: commands import what converts models only when they need it."""
    with pytest.raises(SystemExit) as ended, errors_to_exit_codes():
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    assert ended.value.code == 7
    assert "Missing: torch. " in (told := capsys.readouterr().err)
    assert "pip install 'triton-facade[export]'" in told


def test_a_module_of_ours_that_is_missing_is_a_bug() -> None:
    """And no extra helps."""
    with pytest.raises(ModuleNotFoundError), errors_to_exit_codes():
        raise ModuleNotFoundError("No module named 'export.gone'", name="export.gone")
