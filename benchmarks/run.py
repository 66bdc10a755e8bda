"""Measure the project against its peers and the machine; print tables and write the book's page.

python benchmarks/run.py                    # one CPU thread, half an hour
python benchmarks/run.py --device cuda      # the same tables on a GPU, TF32 off
python benchmarks/run.py --only watching    # one of them
python benchmarks/economy.py                # before: three hours of walking, on cifar9k
"""

import argparse
import platform
from datetime import UTC, datetime
from pathlib import Path

import curvature
import economy
import growth
import interpolation
import modes
import sharpness
import torch
import watching

from valleywalk.folders import checkout
from valleywalk.machine import device_name, reproducible
from valleywalk.paper.page import markdown_table

PARTS = ("interpolation", "watching", "modes", "curvature", "sharpness", "growth", "economy")
ON_A_GPU = ("interpolation", "watching", "modes")
FORMATS = {
    "images a second": "{:,.0f}",
    "share of the limit": "{:.0%}",
    "time beyond evaluations": "{:.1%}",
    "image passes an epoch": "{:,.0f}",
    "mean error": "{:+z.1%}",
    "error, root mean square": "{:.1%}",
    "largest error": "{:.1%}",
    "stated standard error": "{:.1%}",
    "median difference": "{:.1%}",
    "largest": "{:.1%}",
    "median stated error": "{:.1%}",
    "within the stated error": "{:.0%}",
}


def table(rows: list[dict[str, float | str]]) -> str:
    """Markdown table of measurements: counts whole, ratios to two places."""

    def shown(name: str, value: float | str) -> str:
        if isinstance(value, (str, int)):
            return str(value)
        return FORMATS.get(name, "{:.2f}").format(value)

    return markdown_table(
        list(rows[0]), [[shown(name, value) for name, value in row.items()] for row in rows]
    )


def make(name: str, rounds: int, device: torch.device, folder: Path) -> str:
    """A part's text, its picture written into the folder; empty where it was not measured."""
    if name == "interpolation":
        return table([interpolation.measure(case, device) for case in interpolation.CASES])
    if name == "watching":
        return table([watching.measure(case, 3 * rounds, device) for case in interpolation.CASES])
    if name == "modes":
        return table(modes.measure(device, rounds))
    if name == "curvature":
        return table(
            [
                curvature.measure("mlp", "mnist5k", 0.2, 500),
                curvature.measure("vgg11", "photos", 0.125, 200),
            ]
        )
    if name == "sharpness":
        return table([row for case in sharpness.CASES for row in sharpness.measure(case)])
    if name == "growth":
        lines = growth.measure(rounds=3)
        growth.draw(lines, folder / "growth.png")
        return table([{"axis": e.axis, "R² of a line": e.straightness} for e in lines])
    if not economy.is_measured():
        print("economy: not measured yet; run python benchmarks/economy.py")
        return ""
    found = economy.ways()
    economy.draw(found, folder / "economy.png")
    return f"{table([way.row for way in found])}\n\n{economy.headline(found)}"


def main() -> None:
    """Run all and write `book/speed/`."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS)
    given = parser.parse_args()
    device = torch.device(given.device)
    folder = checkout() / "book" / "speed"
    folder.mkdir(exist_ok=True)
    suffix = "" if device.type == "cpu" else f"_{device.type}"
    threads = "one thread" if device.type == "cpu" else "float32 without TF32"
    machine = (
        f"{device_name(device)}, {threads}, {platform.system()}, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )

    def keep(name: str, text: str) -> None:
        print(f"\n{name}\n{text}", flush=True)
        Path(folder / f"{name}{suffix}.md").write_text(text + "\n", encoding="utf-8")

    keep("machine", machine)
    with reproducible(threads=1):
        for name in given.only:
            if device.type == "cpu" or name in ON_A_GPU:
                made = make(name, given.rounds, device, folder)
                if made:
                    keep(name, made)


if __name__ == "__main__":
    main()
