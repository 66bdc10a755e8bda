"""Measure the project against its peers and the machine; print tables and write the book's page.

python benchmarks/run.py               # one CPU thread, about a quarter of an hour
python benchmarks/run.py --device cuda # the same tables on a GPU, TF32 off
"""

import argparse
import platform
from datetime import UTC, datetime
from pathlib import Path

import curvature
import growth
import interpolation
import modes
import torch
import watching

from valleywalk.folders import checkout
from valleywalk.paper.scales import markdown_table
from valleywalk.walk import device_name, reproducible

FORMATS = {
    "images a second": "{:,.0f}",
    "share of the limit": "{:.0%}",
    "time beyond evaluations": "{:.1%}",
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


def main() -> None:
    """Run all and write `book/speed/`."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    device = torch.device(given.device)
    folder = checkout() / "book" / "speed"
    folder.mkdir(exist_ok=True)
    rounds = given.rounds
    parts: dict[str, str] = {}
    with reproducible(threads=1):
        parts["interpolation"] = table(
            [interpolation.measure(case, device) for case in interpolation.CASES]
        )
        parts["watching"] = table(
            [watching.measure(case, 3 * rounds, device) for case in interpolation.CASES]
        )
        parts["modes"] = table(modes.measure(device, rounds))
        if device.type == "cpu":
            parts["curvature"] = table(
                [
                    curvature.measure("mlp", "mnist5k", 0.2, 500),
                    curvature.measure("vgg11", "photos", 0.125, 200),
                ]
            )
    if device.type == "cpu":
        lines = growth.measure(rounds=3)
        growth.draw(lines, folder / "growth.png")
        parts["growth"] = table([{"axis": e.axis, "R² of a line": e.straightness} for e in lines])
    threads = "one thread" if device.type == "cpu" else "float32 without TF32"
    parts["machine"] = (
        f"{device_name(device)}, {threads}, {platform.system()}, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )
    suffix = "" if device.type == "cpu" else f"_{device.type}"
    for name, text in parts.items():
        print(f"\n{name}\n{text}")
        Path(folder / f"{name}{suffix}.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
