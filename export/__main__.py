"""Entry point of `triton-export` and `python -m export`."""

from export.cli import main

if __name__ == "__main__":
    main()
