"""What each command of `triton-facade` ends with; its help says so too."""

_USAGE = "usage"
_INTERRUPTED = {130: "stopped by Ctrl-C"}

_KEYS = {0: "done", 2: "usage, or the file is wrong or can't be changed so"}

EXIT_CODES: dict[str, dict[int, str]] = {
    "serve": {
        0: "stopped",
        1: "the workers can't run",
        2: "a setting is missing or wrong",
        3: "an address can't be listened on",
    },
    "doctor": {0: "no problem found, perhaps warnings", 1: "a problem was found", 2: _USAGE} | _INTERRUPTED,
    "cache purge": {0: "forgotten", 1: "not for certain: a Redis failed", 2: _USAGE} | _INTERRUPTED,
    "keys new": _KEYS,
    "keys list": _KEYS,
    "keys revoke": _KEYS,
    "keys check": {
        0: "all is well",
        1: "no key has this secret, or its key is over",
        2: "usage, or the file is wrong",
    },
}
"""By command. Every command may also end with 70: a bug, which it asks to have reported."""
