"""The command that prints a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from facade.terminal.program import Command

SHELLS = ("bash", "zsh", "fish")


def completion_command(program: click.Command, name: str) -> Command:
    """
    Make the command.

    Args:
        program: The program that is completed.

        name: What it is called in a shell.

    Returns:
        The command `completion`.
    """

    @click.argument("shell", type=click.Choice(SHELLS))
    def completion(shell: str) -> None:
        kind = get_completion_class(shell)
        assert kind is not None, "click knows these shells"  # noqa: S101  # for the type checker
        variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
        click.echo(kind(program, {}, name, variable).source())

    return click.command(
        "completion",
        cls=Command,
        short_help="Print a script that completes commands and names.",
        help="Print a script that lets a shell complete commands, options and names, such as those of models.",
        examples=(
            f"echo 'eval \"$({name} completion bash)\"' >> ~/.bashrc",
            f"echo 'eval \"$({name} completion zsh)\"' >> ~/.zshrc",
            f"{name} completion fish > ~/.config/fish/completions/{name}.fish",
        ),
        exit_codes={0: "printed", 2: "no such shell"},
    )(completion)
