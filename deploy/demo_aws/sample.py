"""The sample's first photographs: out of `make demo`'s, where it has rendered them, else rendered anew."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

from carsdepo_assets.demo.train_loop import render_sample


def first_photographs(rendered: Path, folder: Path, count: int) -> bool:
    """Has a folder hold the sample's first photographs, with labels, classes.txt and manifest.csv.

    Args:
        rendered: folder of `make demo`'s sample, which need not be there.
        folder: to write; one that is complete is left as it is.
        count: of photographs.

    Returns:
        Whether they were rendered by this call.
    """
    if (folder / ".complete").exists() or not (rendered / ".complete").exists():
        return render_sample(folder, count)[1]
    rows = list(csv.DictReader(io.StringIO((rendered / "manifest.csv").read_text())))[:count]
    if len(rows) < count:
        return render_sample(folder, count)[1]
    for part, suffix in (("images", ""), ("labels", ".txt")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for row in rows:
            name = Path(row["file"]).with_suffix(suffix).name if suffix else row["file"]
            shutil.copyfile(rendered / part / name, folder / part / name)
    sheet = io.StringIO(newline="")
    writer = csv.DictWriter(sheet, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / "manifest.csv").write_text(sheet.getvalue())
    shutil.copyfile(rendered / "classes.txt", folder / "classes.txt")
    (folder / ".complete").touch()
    return False
