"""The table of targets as `docs/targets.md` shows it; run as a module, it writes it there."""

from pathlib import Path

from export.profiles import EdgesRule, profile_for
from export.targets import TARGETS, Target

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"

START, END = "<!-- targets: start -->", "<!-- targets: end -->"

SLICES = "a100-"
"""Begin of the names that are told in words instead of rows, but for the two whole cards."""


def make_table() -> str:
    """Lay the table out as Markdown, between its marks."""
    lines = [
        "| target | hardware | compute capability | precisions | Triton's image | with TensorRT | batch | copies |",
        "| --- | --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    rows = [target for name, target in TARGETS.items() if not name.startswith(SLICES) or name == "a100-80gb"]
    lines += [_row(target) for target in rows]
    return "\n".join([START, *lines, END])


def _row(target: Target) -> str:
    """Lay out one target; a CPU's copies are those of the machine that asks."""
    profile, software = profile_for(target.name), target.software
    images = [image.rpartition(":")[2] for image in (software.triton_image, software.triton_tensorrt_image)]
    copies = str(profile.core_instances) if isinstance(profile.grouping, EdgesRule) else "1 a core, up to 4"
    cells = (
        f"`{target.name}`",
        target.title,
        target.compute_capability or "-",
        ", ".join(target.precisions),
        images[0],
        images[1] if target.is_gpu else "-",
        str(profile.max_batch_size),
        copies,
    )
    return f"| {' | '.join(cells)} |"


def replace_table(text: str) -> str:
    """Put the table into the page's text."""
    before, _, rest = text.partition(START)
    return before + make_table() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(replace_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
