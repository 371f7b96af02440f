"""The licences that an imported folder states of its photographs and labels: which, and which file says it.

Read are COCO's `licenses` and each image's `license`, the column `licence` of manifest.csv, `license:` of data.yaml and
"License: ..." of a README. What a person says at the import (`--licence`) stands beside them: all claims count.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from carsdepo_assets.data.datasets.split_files import PhotographFinder, dataset_yaml
from carsdepo_assets.data.folders.folder_files import FolderFile
from carsdepo_assets.data.folders.manifest_csv import MANIFEST, read_sheet
from carsdepo_assets.data.imports.layouts import FileKind, Layout
from carsdepo_assets.lake.licence_names import LicenceName, licence_name
from carsdepo_assets.lake.licences import LicenceStatement
from carsdepo_assets.lake.text_files import decoded, storable

_COLUMNS = ("licence", "license", "photo_licence", "photo_license", "image_license", "image_licence")
_README = re.compile(r"^readme[^/]*\.(?:txt|md|rst)$|^readme$|^(?:licen[sc]e)(?:\.(?:txt|md))?$", re.I)
_YAML = re.compile(r"^[^/]*\.ya?ml$", re.I)
# Each part reads what the next one cannot begin with, else a long run of spaces or pipes is read once for each of them.
_LINE = re.compile(
    r"^[\s>*#|-]*(?:SPDX-License-Identifier|(?:image |photo |data |dataset )?licen[sc]es?)\**\s*[:=|](.*[^\s|])[\s|]*$",
    re.I,
)
_INSIDE = re.compile(r"\blicen[sc]e:\s*([^,;\n]+)", re.I)  # "Provided by a Roboflow user, License: CC BY 4.0"
_LARGEST = 2**20  # bytes of a README that are read
_SEVERAL = "several: "


@dataclass(frozen=True)
class FoundLicences:
    """What a folder states."""

    statements: tuple[LicenceStatement, ...]
    notes: tuple[str, ...]
    """One line for a person, for each licence and who claims it."""


def find_licences(
    layout: Layout, name: str, photographs: Mapping[str, Path], labels_folder: str, stated: str | None, by: str
) -> FoundLicences:
    """Finds the licences that a folder states.

    Args:
        layout: of the folder.
        name: of the import.
        photographs: the files by their paths below raw/uploads/NAME.
        labels_folder: of the import below raw/labels.
        stated: the licence that a person names; None: nobody did.
        by: who that is.

    Raises:
        ValueError: a person named nothing that could be a licence.
    """
    root = layout.folder
    paths = {target: _below(path, root, target) for target, path in photographs.items()}
    scopes = [f"raw/uploads/{name}/"] + ([f"raw/labels/{labels_folder}/"] if layout.of(FileKind.LABELS) else [])
    statements: list[LicenceStatement] = []
    lines: Counter[tuple[str, str]] = Counter()

    def of_all(licence: LicenceName, text: str, claimed_by: str) -> None:
        statements.extend(LicenceStatement(s, licence.name, licence.is_spdx, claimed_by, text) for s in scopes)
        lines[licence.name, claimed_by] = len(photographs)

    if stated is not None:
        stated = storable(stated)
        licence = licence_name(stated)
        if licence is None:
            raise ValueError(f"--licence {stated!r} names no licence: an SPDX identifier such as CC-BY-4.0, or words.")
        of_all(licence, stated, storable(by))
    for file in layout.listing.files:
        if (text := _of_text(file)) is not None and (licence := licence_name(text)) is not None:
            of_all(licence, text, storable(file.path))
    for claimed_by, of_each in _of_photographs(layout, paths):
        written = set(of_each.values())
        names = {one: licence for one in written if (licence := licence_name(*one)) is not None}
        if len(written) == 1 and of_each.keys() == photographs.keys() and names:
            [(one, licence)] = names.items()
            of_all(licence, one[0], claimed_by)
            continue
        for target, one in sorted(of_each.items()):
            if one in names:
                licence, key = names[one], f"raw/uploads/{name}/{target}"
                statements.append(LicenceStatement(key, licence.name, licence.is_spdx, claimed_by, one[0]))
                lines[licence.name, claimed_by] += 1
    notes = [f"licence {licence}, claimed by {who}: {n} photographs" for (licence, who), n in lines.items()]
    return FoundLicences(tuple(dict.fromkeys(statements)), tuple(notes))


def _below(path: Path, folder: Path, otherwise: str) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else otherwise


def _of_text(file: FolderFile) -> str | None:
    """The licence that a README, a file LICENCE or a data.yaml states, as it is written."""
    name = PurePosixPath(file.path).name
    if _YAML.match(name):
        return _of_yaml(dataset_yaml(file.real))
    if not _README.match(name):
        return None
    try:
        if file.real.stat().st_size > _LARGEST:
            return None
        text = decoded(file.real.read_bytes())
    except (OSError, ValueError):
        return None
    candidates = [match[1].strip() for line in text.splitlines() if (match := _LINE.match(line))]
    candidates += [match[1] for match in _INSIDE.finditer(text)]
    named = [c for c in candidates if (one := licence_name(c)) is not None and one.is_spdx]
    return next((storable(c) for c in [*named, *candidates]), None)


def _of_yaml(document: Mapping[Any, Any]) -> str | None:
    for place in (document, document.get("roboflow")):
        if isinstance(place, dict):
            for key in ("license", "licence", "License", "Licence"):
                if isinstance(place.get(key), str):
                    return storable(place[key])
    return None


Stated = Mapping[str, tuple[str, str]]  # licence and its URL, by the photograph's path below raw/uploads/NAME


def _of_photographs(layout: Layout, paths: Mapping[str, str]) -> Iterator[tuple[str, Stated]]:
    """The files that state licences of single photographs, with what they state."""
    for use in layout.of(FileKind.SIDECAR):
        if PurePosixPath(use.path).name.casefold() == MANIFEST and (stated := _of_sheet(use.real, use.target, paths)):
            yield use.path, stated
    finder: PhotographFinder | None = None
    for use in layout.of(FileKind.LABELS):
        if use.format == "coco":
            finder = finder or PhotographFinder(paths)
            if stated := _of_coco(use.real, finder):
                yield use.path, stated


def _of_sheet(file: Path, target: str | None, paths: Mapping[str, str]) -> Stated:
    try:
        sheet = read_sheet(file.read_bytes())
    except OSError:
        return {}
    folder = PurePosixPath(target or MANIFEST).parent
    below = {t: PurePosixPath(t).relative_to(folder) for t in paths if PurePosixPath(t).is_relative_to(folder)}
    sheet.settle(below.values())
    stated: dict[str, tuple[str, str]] = {}
    for photograph, path in below.items():
        row = sheet.row(path)[0] or {}
        if text := next((row[c].strip() for c in _COLUMNS if row.get(c, "").strip()), ""):
            stated[photograph] = text, ""
    return stated


def _of_coco(file: Path, finder: PhotographFinder) -> Stated:
    """COCO: https://cocodataset.org/#format-data, `licenses` with id, name and url, and an image's `license`."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    named = {
        one["id"]: (storable(str(one.get("name") or one.get("url") or "")), storable(str(one.get("url") or "")))
        for one in _list_of(document, "licenses")
        if isinstance(one, dict) and isinstance(one.get("id"), int | str)
    }
    named = {identity: text for identity, text in named.items() if licence_name(*text) is not None}
    if not named:
        return {}
    alone = next(iter(named.values())) if len(named) == 1 else None
    several = _SEVERAL + "; ".join(licence.name for text in named.values() if (licence := licence_name(*text)))
    stated: dict[str, tuple[str, str]] = {}
    for image in _list_of(document, "images"):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            continue
        photograph = finder.named(image["file_name"])
        if photograph is not None:
            own = image.get("license")
            stated[photograph] = named.get(own if isinstance(own, int | str) else None) or alone or (several, "")
    return stated


def _list_of(document: Any, name: str) -> Sequence[Any]:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, list) else []
