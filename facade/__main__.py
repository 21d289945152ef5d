"""``triton-facade``: the command line; one file a subcommand in `facade.commands`."""

from __future__ import annotations

import click

from facade import __version__
from facade.commands.cache import cache
from facade.commands.doctor import doctor
from facade.commands.keys import keys
from facade.commands.serve import serve
from facade.terminal.completion import completion_command
from facade.terminal.program import Program


@click.group(cls=Program)
@click.version_option(__version__, prog_name="triton-facade")
def main() -> None:
    """
    Authentication, batching, deadlines and metrics in front of a Triton Inference Server.

    `doctor` says what is wrong with a set-up. Exit codes stand in each command's help; 70 is a bug of ours.
    """


main.add_command(serve)
main.add_command(keys)
main.add_command(cache)
main.add_command(doctor)
main.add_command(completion_command(main, "triton-facade"))

if __name__ == "__main__":
    main()
