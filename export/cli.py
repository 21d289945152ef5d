"""
The command line: its commands, and what they share.

Imports nothing heavy, nor do the commands' own modules at their top, so that `--help` and a mistyped option are
answered at once.
"""

import click

from export.commands.convert import export
from export.commands.hardware import COMMANDS as HARDWARE_COMMANDS
from export.commands.release import COMMANDS as RELEASE_COMMANDS
from export.commands.report import report
from export.commands.tune import tune
from facade.terminal.completion import completion_command
from facade.terminal.program import Program


@click.group(cls=Program)
@click.version_option(package_name="triton-facade", prog_name="triton-export")
def main() -> None:
    """
    Turn a Hugging Face model into a Triton model repository.

    What is published is proven equal to the original. Exit codes: in each command's help.
    """


main.add_command(export)
main.add_command(tune)
for _command in (*RELEASE_COMMANDS, *HARDWARE_COMMANDS, report):
    main.add_command(_command)
main.add_command(completion_command(main, "triton-export"))
