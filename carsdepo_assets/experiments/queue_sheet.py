"""Shows a labelling queue to people: as a CSV, and as a contact sheet of its photographs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from carsdepo_assets.lake.queues import Queue

COLUMNS = (
    "priority",
    "image_id",
    "why",
    "source",
    "camera",
    "listing",
    "region",
    "uploader",
    "upload_key",
    "label_key",
)
_MAX_PNG_BYTES = 100_000  # what the UI carries
# Sizes tried in turn until the PNG is small enough: (columns, tile width in px, colours, photographs).
_STEPS = ((6, 140, 96, 24), (6, 120, 64, 24), (6, 120, 48, 18), (5, 100, 32, 15), (4, 90, 16, 12), (4, 60, 16, 8))


def sheet_csv(queue: Queue) -> bytes:
    """The queue as CSV, a row a photograph in order of priority; `label_key` is where its YOLO labels belong."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for photograph in queue.photographs:
        writer.writerow({column: getattr(photograph, column) for column in COLUMNS})
    return out.getvalue().encode()


def contact_sheet(queue: Queue, pictures: Mapping[str, bytes]) -> bytes:
    """The first photographs of the queue as one picture, upright, each with its priority.

    Args:
        pictures: the photographs' bytes by image id. One that cannot be decoded leaves its tile grey.

    Returns:
        A PNG under 100 kB, at most 900 px wide.
    """
    png = b""
    for columns, width, colours, shown in _STEPS:
        png = _grid(queue, pictures, columns, width, colours, shown)
        if len(png) <= _MAX_PNG_BYTES:
            break
    return png


def _grid(queue: Queue, pictures: Mapping[str, bytes], columns: int, width: int, colours: int, shown: int) -> bytes:
    from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

    gap, height, text = 6, width * 3 // 4, 11
    photographs = queue.photographs[:shown]
    columns = max(1, min(columns, len(photographs)))
    rows = max(1, -(-len(photographs) // columns))
    strip = text + 6
    grid = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + strip + gap) - gap), "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(size=text)
    for number, photograph in enumerate(photographs):
        x, y = number % columns * (width + gap), number // columns * (height + strip + gap)
        tile = Image.new("RGB", (width, height), "#eef1f4")
        try:
            with Image.open(io.BytesIO(pictures[photograph.image_id])) as photo:
                photo.draft("RGB", (2 * width, 2 * height))
                small = ImageOps.contain(ImageOps.exif_transpose(photo).convert("RGB"), (width, height))
            tile.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
        except (UnidentifiedImageError, OSError):
            pass  # the tile stays grey; intake will say what is wrong with the file
        grid.paste(tile, (x, y))
        draw.text(
            (x + 1, y + height + 2), f"{photograph.priority}  {photograph.source or ''}", font=font, fill="#1f2933"
        )
    out = io.BytesIO()
    # 5 bits a channel first: the palette of a noisy photograph takes seconds otherwise.
    ImageOps.posterize(grid, 5).quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()
