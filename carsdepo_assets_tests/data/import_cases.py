"""Cases of whole imports as data: what lies in a folder, and what becomes of it.

`test_import_cases.py` imports each of them; docs/generate.py writes docs/import-cases.md from them. Labels of YOLO have
the ids 0 = dent, 1 = scratch, so that an order that is assumed and not read would swap them.
"""

from __future__ import annotations

from carsdepo_assets_tests.data.import_case_folders import Case
from carsdepo_assets_tests.data.import_cases_of_labels import (
    CLASS_MAP,
    CLASS_NAMES,
    CLASSES,
    COCO,
    LAYOUTS_OF_FOLDERS,
    LINES,
    TWICE,
)
from carsdepo_assets_tests.data.import_cases_of_photographs import FILE_NAMES, GROUPS, LATE, PREFIXES, UNREVIEWED

CASES: dict[str, list[Case]] = {
    "Names of classes": CLASS_NAMES,
    "Names that are corrected": CLASS_MAP,
    "COCO": COCO,
    "One photograph twice": TWICE,
    "Where labels lie, and in which format": LAYOUTS_OF_FOLDERS,
    "Lines of YOLO": LINES,
    "Groups and splits": GROUPS,
    "Prefixes of Label Studio": PREFIXES,
    "Photographs that nobody is known to have finished": UNREVIEWED,
    "Late and repaired": LATE,
    "Names of files and folders": FILE_NAMES,
    "Classes that are not ours": CLASSES,
}
"""By what they are about."""
