"""
How `triton-facade` and `triton-export` look in a terminal, alike: help, errors, colours, completion.

    program     the classes that their commands are made of: help that fits a screen, one way to end
    colours     whether to use any
    failures    how an error is shown, and with which exit code it ends
    completion  the command that prints a shell's completion script

It knows neither program; what their commands say is theirs.
"""
