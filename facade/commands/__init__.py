"""The subcommands of `triton-facade`, one file each."""
