"""The table of tolerances in docs/export.md; run this module to write it again after a change."""

from pathlib import Path

from export.options import TASKS
from export.tolerances import FIGURES, TOLERANCES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"
START, END = "<!-- tolerances: start -->", "<!-- tolerances: end -->"


def make_table() -> str:
    """
    Write the tolerances as a Markdown table, then what their figures are.

    Returns:
        The text between the page's two marks.
    """
    lines = ["| task | precision | required | why |", "| --- | --- | --- | --- |"]
    for (task, precision), tolerance in sorted(TOLERANCES.items(), key=lambda item: TASKS.index(item[0][0])):
        required = ", ".join(
            f"`{name}` {'≤' if name.startswith('max_') else '≥'} {bound:g}"
            for name, bound in tolerance.bounds.items()
        )
        lines.append(f"| {task} | {precision} | {required} | {tolerance.reason} |")
    lines.append("")
    lines += [f"* `{name}`: {meaning}" for name, meaning in FIGURES.items()]
    return "\n".join(lines)


def replace_table(page: str) -> str:
    """
    Put the table between the page's marks.

    Args:
        page: The page's text.

    Returns:
        The text with the table as it is now.
    """
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{make_table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(replace_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
