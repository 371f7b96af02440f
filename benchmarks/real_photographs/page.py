"""Tables and charts of docs/results.md from the results that are kept: `python -m benchmarks.real_photographs.page`.

After a new result, copy its NAME.json from the output folder into `results/` and run it again. Where trainings ran side
by side, write by hand into the JSON's `hardware` how many others there were: `trainings_beside`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.real_photographs.pairs import PAIRS
from benchmarks.real_photographs.plan import PLAN
from carsdepo_assets.reporting.charts import MUTED, PALETTE, chart, saved, styled_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results")
PAGE = ROOT / "docs" / "results.md"
CURVE = ("gpu-lite2-quarter", "gpu-lite2-half", "gpu-lite2")
SPLIT_COLOURS = {"test": PALETTE[0], "val": PALETTE[1]}
_TITLES = {
    "faster_rcnn": "Faster R-CNN, EfficientNet-Lite0",
    "faster_rcnn_lite2": "Faster R-CNN, EfficientNet-Lite2",
    "yolov8s": "YOLOv8s",
}


def kept_results() -> list[dict[str, Any]]:
    """The results in `results/` in the order of the plan."""
    files = [RESULTS / f"{planned.name}.json" for planned in PLAN]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def trainings_table() -> str:
    """A row for each training: data, recipe, hardware, seconds, mAP."""
    lines = [
        "| training | detector | what it tries | px, batch, rate | train | hardware | seconds | steps "
        "| mAP@.5 on val | mAP@.5 on test | mAP@.5:.95 on test | recall, precision on test |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in kept_results():
        recipe, test = result["recipe"], result["test"]
        start = "" if recipe["init"] == "imagenet" else ", random weights"
        cells = [
            f"`{result['name']}`",
            _TITLES[recipe["detector"]] + start,
            result["says"],
            f"{recipe['image_size']}, {recipe['batch']}, {recipe['lr']:g}",
            str(result["data"]["train"]["photographs"]),
            _hardware(result),
            f"{result['seconds']:.0f}",
            f"{result['steps']:,}",
            _interval(result["val"]),
            _interval(test),
            f"{test['map50_95']:.3f}",
            f"{test['recall']:.2f}, {test['precision']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pairs_table() -> str:
    """A row for each pair of trainings that was compared."""
    rows = json.loads((RESULTS / "pairs.json").read_text())
    by_pair = {(row["first"], row["second"], row["split"]): row for row in rows}
    lines = ["| from | to | difference of mAP@.5 on val | on test |", "|---|---|---|---|"]
    for first, second in PAIRS:
        cells = [_difference(by_pair[first, second, split]) for split in ("val", "test")]
        lines.append(f"| `{first}` | `{second}` | {' | '.join(cells)} |")
    return "\n".join(lines)


@styled_chart
def trainings_chart() -> bytes:
    """mAP@.5 of each training with its interval, on val and on test."""
    results = kept_results()
    figure, axes = chart(6.9, 0.45 + 0.32 * len(results))
    for offset, split in ((-0.13, "test"), (0.13, "val")):
        places = [number + offset for number in range(len(results))]
        _points(axes, [result[split] for result in results], places, split, upright=False)
    axes.set_yticks(range(len(results)), [result["name"] for result in results])
    axes.invert_yaxis()
    axes.set_xlabel("mAP@.5, 95 % interval by groups")
    axes.set_xlim(left=0)
    axes.legend(loc="lower right")
    return saved(figure, "svg")


@styled_chart
def curve_chart() -> bytes:
    """mAP@.5 over the number of photographs of train."""
    by_name = {result["name"]: result for result in kept_results()}
    results = [by_name[name] for name in CURVE]
    figure, axes = chart(5.5, 3)
    for shift, split in ((-2.0, "test"), (2.0, "val")):
        numbers = [result["data"]["train"]["photographs"] + shift for result in results]
        _points(axes, [result[split] for result in results], numbers, split, upright=True)
    axes.set_xlabel("labelled photographs in train")
    axes.set_ylabel("mAP@.5, 95 % interval")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    return saved(figure, "svg")


def _points(axes: Axes, figures: list[Mapping[str, Any]], at: list[float], split: str, *, upright: bool) -> None:
    values = [f["map50"] for f in figures]
    ends = [[v - f["map50_low"] for v, f in zip(values, figures, strict=True)],
            [f["map50_high"] - v for v, f in zip(values, figures, strict=True)]]  # fmt: skip
    style: dict[str, Any] = {"color": SPLIT_COLOURS[split], "ecolor": MUTED, "elinewidth": 1, "label": split}
    style |= {"marker": "o", "markersize": 4}
    if upright:
        axes.errorbar(at, values, yerr=ends, linestyle="-", **style)
    else:
        axes.errorbar(values, at, xerr=ends, linestyle="none", **style)


def _hardware(result: Mapping[str, Any]) -> str:
    hardware, gpu = result["hardware"], result["numerics"].get("gpu")
    others = hardware.get("trainings_beside")
    shared = f", {others} others beside it" if others else ""
    if gpu:
        return f"{gpu}, {hardware['cores']} of {hardware['of_cores']} cores{shared}"
    cores = f"{hardware['cores']} of {hardware['of_cores']} cores" if hardware["cores"] < hardware["of_cores"] else (
        f"{hardware['cores']} cores")  # fmt: skip
    return f"{hardware['cpu'].replace('(R)', '')}, {cores}{shared}"


def _interval(figures: Mapping[str, Any]) -> str:
    return f"{figures['map50']:.3f} ({figures['map50_low']:.3f} to {figures['map50_high']:.3f})"


def _difference(row: Mapping[str, Any]) -> str:
    cell = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
    return f"**{cell}**" if row["low"] > 0 or row["high"] < 0 else cell


def page(text: str) -> str:
    """The page's text with the tables of the results that are kept, each between its two marks."""
    for name, table in (("trainings", trainings_table()), ("pairs", pairs_table())):
        marks = f"<!-- {name}: from benchmarks/real_photographs/results/ -->", f"<!-- end of {name} -->"
        text = re.sub(f"{marks[0]}.*?{marks[1]}", f"{marks[0]}\n{table}\n{marks[1]}", text, flags=re.DOTALL)
    return text


def main() -> int:
    PAGE.write_text(page(PAGE.read_text()))
    pictures = ROOT / "docs" / "pictures"
    (pictures / "results-trainings.svg").write_bytes(trainings_chart())
    (pictures / "results-learning-curve.svg").write_bytes(curve_chart())
    return 0


if __name__ == "__main__":
    sys.exit(main())
