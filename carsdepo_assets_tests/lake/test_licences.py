"""lake/licence_names.py, lake/licences.py: what a licence is called, and how many photographs have which."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licence_names import is_non_commercial, licence_name
from carsdepo_assets.lake.licences import (
    NONE_STATED,
    Licences,
    LicenceStatement,
    count_licences,
    licences_of_rows,
    state_licences,
)
from carsdepo_assets.policy import DataPolicy

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PATTERNS = DataPolicy().non_commercial_licences
BY_NC_SA = "http://creativecommons.org/licenses/by-nc-sa/2.0/"


@pytest.mark.parametrize(
    ("written", "url", "name"),
    [
        ("CC-BY-4.0", "", "CC-BY-4.0"),
        ("cc-by-nc-4.0", "", "CC-BY-NC-4.0"),
        ("CC BY 4.0", "", "CC-BY-4.0"),
        ("CC BY 4.0 (every file)", "", "CC-BY-4.0"),
        ("**CC BY-NC-SA 3.0**", "", "CC-BY-NC-SA-3.0"),
        ("CC-BY-NC 4.0", "", "CC-BY-NC-4.0"),
        ("CC0", "", "CC0-1.0"),
        ("Attribution-NonCommercial-ShareAlike License", BY_NC_SA, "CC-BY-NC-SA-2.0"),
        ("https://creativecommons.org/licenses/by/4.0/", "", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution 4.0 International License", "", "CC-BY-4.0"),
        ("Attribution-NoDerivs 2.0 Generic", "", "CC-BY-ND-2.0"),
        ("MIT License", "", "MIT"),
        ("the MIT Licence.", "", None),
        ("cc-by-4.0 OR MIT", "", "CC-BY-4.0 OR MIT"),
        ("LicenseRef-Ours", "", "LicenseRef-Ours"),
        ("CC_BY_NC_SA_4.0", "", "CC-BY-NC-SA-4.0"),
        ("CC BY\u2011NC\u2013SA 4.0", "", "CC-BY-NC-SA-4.0"),  # hyphens of a word processor
        ("MIT (non-commercial use only)", "", None),  # what takes the name back belongs to it
        ("CC BY 4.0 (not for commercial use)", "", None),
        (
            "https://creativecommons.org/licenses/by/4.0/, labels https://creativecommons.org/licenses/by-nc/4.0/",
            "",
            "CC-BY-4.0 AND CC-BY-NC-4.0",
        ),
    ],
)
def test_spdx_and_usual_names(written: str, url: str, name: str | None) -> None:
    found = licence_name(written, url)
    assert found is not None
    assert (found.name if found.is_spdx else None) == name


@pytest.mark.parametrize("written", ["", "unknown", "N/A", " none "])
def test_nothing_is_said(written: str) -> None:
    assert licence_name(written) is None


def test_other_words_are_kept() -> None:
    kept = licence_name("  Only for  our customer ")
    assert kept is not None
    assert (kept.name, kept.is_spdx) == ("Only for our customer", False)


@pytest.mark.parametrize(
    "signs", [pytest.param(sign * 2**20, id=sign) for sign in ",("] + [pytest.param("MIT OR (" * 5000, id="nested")]
)
def test_a_file_of_signs_is_read_once_and_names_nothing(signs: str) -> None:
    """Looked for anew at each of a million signs, what stands behind a name would take hours."""
    kept = licence_name(f"{signs}x")
    assert kept is not None
    assert (kept.name == f"{signs}x", kept.is_spdx) == (True, False)


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC-BY-4.0", False),
        ("CC-BY-NC-4.0", True),
        ("CC-BY-NC-SA-2.0", True),
        ("cc-by-nc", True),
        ("CC-BY-NC-4.0 OR MIT", False),
        ("CC-BY-NC-4.0 OR CC-BY-NC-SA-4.0", True),
        ("(CC-BY-NC-4.0 OR MIT)", False),
        ("MIT OR Apache-2.0 AND CC-BY-NC-4.0", False),
        ("(MIT OR Apache-2.0) AND CC-BY-NC-4.0", True),
        ("CC-BY-NC-4.0 AND (MIT OR Apache-2.0)", True),
        ("CC-BY-NC-4.0 AND MIT", True),
        ("For research use only", True),
        ("Non-Commercial use", True),
        ("several: CC-BY-4.0; CC-BY-NC-4.0", True),
        (NONE_STATED, False),
        ("NCSA", False),
    ],
)
def test_what_forbids_commercial_use(licence: str, forbids: bool) -> None:
    assert is_non_commercial(licence, PATTERNS) is forbids


@pytest.mark.parametrize(
    "words",
    """cc by nc 4.0|CC-BY-NC-SA|CC_BY_NC|cc-by-nc_4.0|CC BY-NC 4.0 Deed|CC BY\u2011NC 4.0|CCBYNC4.0|BY-NC-SA 4.0|CC BYNC
    NonCommercial-ShareAlike|non_commercial|NON\u2010COMMERCIAL|Non\u200bCommercial|not for commercial use
    no commercial use|commercial use prohibited|commercial use is not permitted|research use|Only for research
    for research purposes|Academic use|academic only|for educational purposes|personal use only|non-profit use only
    nicht-kommerziell|Nur für nicht kommerzielle Nutzung|keine kommerzielle Nutzung|pas d’utilisation commerciale
    usage non commercial|não comercial|uso no comercial|niet-commercieel|非商用|creativecommons.org/licenses/nd-nc/1.0
    several: CC-BY-4.0; cc by nc|MIT (non-commercial use only)""".replace("\n", "|").split("|"),
)
def test_however_it_is_written(words: str) -> None:
    licence = licence_name(words)
    assert licence is not None
    assert is_non_commercial(licence.name, PATTERNS)


@pytest.mark.parametrize(
    "words",
    [
        "free for personal and commercial use",
        "commercial use allowed",
        "Unsplash licence",
        "Cars Inc by name",
        "AFL-3.0",
    ],
)
def test_what_names_no_bound_asks_for_nobody(words: str) -> None:
    assert not is_non_commercial(words, PATTERNS)


def test_a_pattern_of_whole_words_is_compared_with_the_whole_licence() -> None:
    assert is_non_commercial("cc by 4.0", ("CC-BY-4.0",))
    assert not is_non_commercial("CC-BY-4.0 AND MIT", ("CC-BY-4.0",))
    assert is_non_commercial("LicenseRef-Yard-7", ("LicenseRef-Yard-[0-9]",))


def statement(scope: str, licence: str, by: str = "README.md") -> LicenceStatement:
    return LicenceStatement(scope, licence, True, by, licence)


def test_all_statements_about_a_photograph_count_and_are_made_once(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    stated = [
        statement("raw/uploads/a/", "CC-BY-4.0"),
        statement("raw/uploads/a/", "CC-BY-4.0", "anna@desk"),
        statement("raw/uploads/a/2.jpg", "CC-BY-NC-4.0", "coco.json"),
        statement("raw/labels/a/", "MIT"),
    ]
    assert state_licences(lake, "a", stated, NOW) == 4
    assert state_licences(lake, "a", stated, NOW) == 0
    assert state_licences(lake, "a", [*stated, statement("raw/uploads/b/", "MIT")], NOW) == 1
    keys = [
        (["raw/uploads/a/1.jpg"], ["raw/labels/a/1.txt"]),
        (["raw/uploads/a/2.jpg"], ["raw/labels/c/2.txt"]),
        (["raw/uploads/ab/1.jpg"], []),
        (["raw/uploads/ab/2.jpg", "raw/uploads/b/same.jpg"], []),
    ]
    counts = count_licences(Licences.read(lake), keys, PATTERNS)
    assert [(c.of, c.licence, c.claimed_by, c.photographs, c.non_commercial) for c in counts] == [
        ("photographs", "CC-BY-4.0", "README.md, anna@desk", 2, False),
        ("photographs", "CC-BY-NC-4.0", "coco.json", 1, True),
        ("photographs", "MIT", "README.md", 1, False),
        ("photographs", NONE_STATED, "", 1, False),
        ("labels", "MIT", "README.md", 1, False),
        ("labels", NONE_STATED, "", 1, False),
    ]
    assert counts[0].sentence == "CC-BY-4.0, claimed by README.md, anna@desk: 2 photographs"


def test_a_lake_of_before_states_none(tmp_path: Path) -> None:
    rows = [{"image_id": "i", "key": "raw/uploads/a.jpg", "revision_id": "r"}]
    counts = licences_of_rows(Lake.open(tmp_path), rows, PATTERNS)
    assert [(c.of, c.licence, c.photographs) for c in counts] == [
        ("photographs", NONE_STATED, 1),
        ("labels", NONE_STATED, 1),
    ]


def test_the_licences_of_all_files_that_a_labelling_comes_from_count(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    state_licences(lake, "a", [statement("raw/labels/a/", "CC-BY-NC-4.0"), statement("raw/labels/b/", "MIT")], NOW)
    files = {
        "raw/labels/a/1.txt": "r1",
        "raw/labels/b/1.txt": "r2",
        "raw/labels/a/2.txt": "r3",
        "raw/labels/b/2.txt": "r3",
    }
    lake.append("annotations", [{"revision_id": revision, "key": key} for key, revision in files.items()], "unit")
    for revision in ("r1+r2", "r2+r1", "r3"):  # a majority of two annotators; the same boxes in two imports
        counts = licences_of_rows(
            lake, [{"image_id": "i", "key": "raw/uploads/a.jpg", "revision_id": revision}], PATTERNS
        )
        assert {c.licence for c in counts if c.of == "labels"} == {"CC-BY-NC-4.0", "MIT"}
