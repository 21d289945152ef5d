"""Write the dashboards' JSON: ``python -m deploy.grafana``."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana.callers_board import CALLERS
from deploy.grafana.facade_board import FACADE
from deploy.grafana.models_board import MODELS
from deploy.grafana.panels import write_board
from deploy.grafana.triton_board import TRITON

BOARDS = (FACADE, TRITON, MODELS, CALLERS)
FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write one file a dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(write_board(board))


if __name__ == "__main__":
    main()
