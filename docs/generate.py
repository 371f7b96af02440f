"""Writes the parts of the documentation that follow from the code: `python docs/generate.py`, which `make docs` runs.

They are docs/policy.md, from policy.py, docs/detectors.md, from families/, the tables of keys in docs/aws.md, from the
places in compute/, and the list of what make demo-aws cannot prove there, from deploy/demo_aws/unproved.toml,
docs/import-cases.md, from the table of cases that the tests import, docs/how-to/training-findings.md, from the kinds of
findings in training/diagnosis/kinds.py, and docs/pictures/layers.svg, from import-linter's contract in pyproject.toml.
The tables of costs and quotas in docs/aws-account.md are from deploy/aws/.
carsdepo_assets_tests/test_docs.py fails where a file is not what this would write.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from carsdepo_assets.families.family import Family

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # deploy/ is no installed package
POLICY_INTRODUCTION = """# Policy

<!-- Written by docs/generate.py from carsdepo_assets/policy.py: change it there. -->

Every threshold that the business sets. A value is changed in `carsdepo.toml`, by its section and its key:

```toml
[gate]
floor_map50 = 0.3
```

Files are merged key by key. Later ones go before earlier ones: the built-in values below, `carsdepo.toml` in the home
(`.carsdepo/`), `carsdepo.toml` in the working folder, and the file that the variable `CARSDEPO_POLICY` names.
`carsdepo policy show` prints the values in force and the file that sets each.
A key that does not exist is an error that names it.

"""
# What each part of the package is for, in the words of the layer picture.
PURPOSES = {
    "alerts": "who is told, and how",
    "business": "KPIs and the business's tables",
    "certificates": "trusted certificates",
    "cli": "the command carsdepo",
    "commands": "one module a command",
    "compute": "where a job runs",
    "data": "uploads and labels to a dataset",
    "definitions": "the whole graph, merged",
    "demo": "the demo and its rendered sample",
    "detectors": "YOLOv8, Faster R-CNN, exports",
    "environments": "which resource stands behind a name",
    "families": "what detectors there are",
    "evaluation": "predictions on the golden set",
    "experiments": "recipes, labelling queues",
    "imaging": "decode, features, hashes",
    "inference": "the service and its answers",
    "lake": "bytes, tables, schemas",
    "monitoring": "drift, routing, live quality",
    "orchestration": "what Dagster-facing modules share",
    "policy": "every threshold",
    "policy_compute": "prices of machines",
    "policy_diagnosis": "thresholds of findings",
    "policy_layers": "the policy's files, merged",
    "policy_study": "search space and budgets of studies",
    "policy_augmentation": "how trainings vary photographs",
    "policy_training": "thresholds of training",
    "policy_values": "kinds of values in a policy",
    "quality": "Great Expectations, whylogs",
    "cloudwatch": "metrics in CloudWatch's form",
    "redaction": "hides secrets in texts",
    "registry": "models, ledger, lineage, MLflow",
    "release": "staging, gate, production",
    "reporting": "what report pages share",
    "resources": "lake, policy, services for assets",
    "scoring": "every figure about quality",
    "start": "where the script begins",
    "settings": "where state lies, which ports",
    "settings_aws": "what an AWS account needs",
    "settings_fields": "which settings there are",
    "settings_variables": "variables and fields",
    "settings_container": "of a model in a container",
    "site": "the pages that people open",
    "toml_files": "files that variables name",
    "training": "train, evaluate, register",
}
_WIDTH, _ROW, _GAP, _MARGIN, _MOST = 1080, 46, 8, 16, 4


def policy_page() -> str:
    """docs/policy.md, as it must be."""
    from carsdepo_assets.commands.policy_reference import policy_reference

    return POLICY_INTRODUCTION + policy_reference()


def aws_page() -> str:
    """docs/aws.md, as it must be: what people wrote, with the tables of keys between their marks."""
    from carsdepo_assets.compute.ecs import Capacity, EcsCompute
    from carsdepo_assets.compute.sagemaker import SageMakerCompute
    from carsdepo_assets.release.sagemaker_settings import (
        Canary,
        DataCapture,
        EndpointsSettings,
        MultiModel,
        StageEndpoint,
    )

    page = (ROOT / "docs" / "aws.md").read_text()
    models = {
        "sagemaker": SageMakerCompute,
        "ecs": EcsCompute,
        "capacity": Capacity,
        "endpoints": EndpointsSettings,
        "stages": StageEndpoint,
        "multi_model": MultiModel,
        "canary": Canary,
        "capture": DataCapture,
    }
    tables = {name: _keys(model) for name, model in models.items()}
    tables |= {"account": _variables(), "metrics": _metrics(), "unproved": _unproved()}
    for name, table in tables.items():
        page = _with(page, f"keys of {name}", name, table)
    return page


def aws_account_page() -> str:
    """docs/aws-account.md, as it must be: people's words, with the tables of costs and quotas between their marks."""
    from deploy.aws import costs, quotas

    page = (ROOT / "docs" / "aws-account.md").read_text()
    return _with(_with(page, "costs", "costs", costs.table()), "quotas", "quotas", quotas.table(), indent="    ")


def _with(page: str, of: str, name: str, table: str, indent: str = "") -> str:
    """A page with a table between its marks."""
    begin, end = f"<!-- {of}: written by docs/generate.py -->\n", f"{indent}<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    lines = "".join(f"{indent}{line}\n" for line in table.splitlines())
    return f"{before}{begin}\n{lines}\n{end}{rest.partition(end)[2]}"


def _unproved() -> str:
    """What `make demo-aws` cannot prove, as it says at its end."""
    listed = tomllib.loads((ROOT / "deploy" / "demo_aws" / "unproved.toml").read_text())["unproved"]
    return "\n".join(f"- **{one['what']}.** {one['why']}" for one in listed)


def _variables() -> str:
    """The settings of an installation in an AWS account: those that it needs first."""
    from carsdepo_assets.settings import Settings
    from carsdepo_assets.settings_aws import NEEDED

    fields = Settings.model_fields
    rows = ["| variable | needed | what it is |", "|---|---|---|"]
    for name in (
        "environment",
        *NEEDED,
        *(field for field in fields if field not in NEEDED and field != "environment"),
    ):
        field = fields[name]
        needed = "`aws`" if name == "environment" else NEEDED[name].example if name in NEEDED else ""
        meaning = (field.description or "").replace("|", "/")
        rows.append(f"| `{field.validation_alias}` | {needed} | {meaning} |")
    return "\n".join(rows)


def _metrics() -> str:
    """The metrics of CloudWatch, by who publishes them."""
    from carsdepo_assets.cloudwatch.catalogue import DIMENSIONS, PUBLISHERS

    rows = ["| metric | unit | dimension | published by | what a value is |", "|---|---|---|---|---|"]
    for publisher, metrics in PUBLISHERS.items():
        for metric in metrics:
            dimension = f"{metric.dimension}: {', '.join(DIMENSIONS[metric.dimension])}"
            rows.append(f"| `{metric.name}` | {metric.unit} | {dimension} | {publisher} | {metric.meaning} |")
    return "\n".join(rows)


def _keys(model: type[BaseModel]) -> str:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _toml(field.get_default(call_default_factory=True))
        rows.append(f"| `{name}` | {default} | {(field.description or '').replace('|', '/')} |")
    return "\n".join(rows)


def _toml(value: object) -> str:
    """A default as the file would have it."""
    match value:
        case None | [] | ():
            return "none"
        case dict() if not value:
            return "none"
        case BaseModel():
            return _toml(value.model_dump(exclude_none=True))
        case dict():
            return "`{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + " }`"
        case _:
            return f"`{json.dumps(value)}`"


CASES_INTRODUCTION = """# Imports, case by case

<!-- Written by docs/generate.py from carsdepo_assets_tests/data/import_cases.py: change it there. -->

What becomes of the photographs and labels that people have. Each line is a test: the folder is imported, and what comes
of it is compared with the right column. a, b and c are photographs: a has a scratch, b has a dent, and c was looked at
and has no damage. Where nothing else is said, labels are YOLO in `labels/`, with the names of their classes in
`classes.txt`: 0 is dent and 1 is scratch.

*Clean* is a photograph that was looked at and has no damage, *unreviewed* one of which nobody is known to have finished
the labels, and *no label* one of which nothing is known. *Quarantined* files are in the lake's quarantine with a
reason, *refused* ones were not copied. *Stops* is an import that copies nothing and says what settles it. *Exit 1* is
the exit code of an import that did not come in whole. [Import photographs](how-to/import.md) has the rules.
"""


def import_cases_page() -> str:
    """docs/import-cases.md, as it must be."""
    from carsdepo_assets_tests.data.import_cases import CASES

    parts = [CASES_INTRODUCTION]
    for group, cases in CASES.items():
        rows = [f"| {_cell(case.given)} | {_cell(_happens(case.gives, case.says))} |" for case in cases]
        parts.append("\n".join([f"## {group}\n", "| in the folder | what happens |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


FINDINGS_INTRODUCTION = """# Understand what is found about a training

<!-- Written by docs/generate.py from carsdepo_assets/training/diagnosis/kinds.py: change it there. -->

While a model trains, and when it has, its losses, gradients, learning rate, waiting times and predicted boxes are
looked at, and what is wrong is named. A finding stands

- in `carsdepo status`, on the first page of the site while the training is the newest one, and on the model's page,
- as an asset check of `candidate_model` in Dagster: a warning, or an error where the training is hopeless,
- as the tag `carsdepo.finding.NAME` of the MLflow run, beside the metrics `gradient_norm`, `dead_gradients_share` and
  `loader_waiting_share`,
- in the lake, at `training/diagnosis/`, with the newest signals, from which a killed training goes on.

A **hopeless** training cannot become a usable model. It is stopped at once and gives none. Its run fails with the
finding as the reason, an alert goes out, and while `carsdepo dev` runs the next of `training.fallbacks` is tried, each
once for one state of the labels; then a person is asked. With `training.diagnosis.stop_hopeless = false` it is told
only, and trains to its end.

The thresholds are values of the [policy](../policy.md#trainingdiagnosis), section `[training.diagnosis]`: in the
rules below they are named by their keys.

| finding | what is wrong | hopeless |
|---|---|---|
"""


def findings_page() -> str:
    """docs/how-to/training-findings.md, as it must be."""
    from carsdepo_assets.training.diagnosis.kinds import KINDS

    rows = [f"| [`{k.name}`](#{k.name}) | {_cell(k.meaning)} | {'yes' if k.hopeless else 'no'} |" for k in KINDS]
    parts = [
        f"## {k.name}\n\n{k.meaning}\n\n**What to do.** {k.advice}\n\n**When it is raised.** {k.rule}\n\n"
        f"Asset check `{k.check}`. The rule follows {k.source}."
        f"{' It is withdrawn where a later validation shows it no more.' if k.passes else ''}\n"
        for k in KINDS
    ]
    return FINDINGS_INTRODUCTION + "\n".join(rows) + "\n\n" + "\n".join(parts)


def _happens(gives: str, says: Sequence[str]) -> str:
    stops, _, words = gives.partition("stops: ")
    told = [words] if words else list(says)
    what = "stops" if words else stops
    return what + (f"; says {' and '.join(f'`{one}`' for one in told)}" if told else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def layers() -> list[list[str]]:
    """The parts of the package by layer, the highest first, as pyproject.toml's contract lists them."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(c for c in linter["contracts"] if c["type"] == "layers")
    return [[part.strip().removeprefix("carsdepo_assets.") for part in row.split("|")] for row in contract["layers"]]


def layers_picture() -> str:
    """docs/pictures/layers.svg, as it must be. Raises KeyError for a part without an entry in PURPOSES."""
    rows = [row[i : i + _MOST] for row in layers() for i in range(0, len(row), _MOST)]
    height = 2 * _MARGIN + len(rows) * (_ROW + _GAP) - _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" font-family="sans-serif">',
        "<title>The layers of carsdepo_assets: each part imports only what lies below its layer</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, row in enumerate(rows):
        width = (_WIDTH - 2 * _MARGIN - (len(row) - 1) * _GAP) / len(row)
        top = _MARGIN + number * (_ROW + _GAP)
        for place, name in enumerate(row):
            left, middle = _MARGIN + place * (width + _GAP), _MARGIN + place * (width + _GAP) + width / 2
            parts += [
                f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{_ROW}" rx="4" fill="#e8eef7" '
                'stroke="#5b7aa8"/>',
                f'<text x="{middle:.0f}" y="{top + 19}" text-anchor="middle" font-size="15" font-weight="bold" '
                f'fill="#1d2b40">{escape(name)}</text>',
                f'<text x="{middle:.0f}" y="{top + 37}" text-anchor="middle" font-size="12.5" '
                f'fill="#1d2b40">{escape(PURPOSES[name])}</text>',
            ]
    return "\n".join([*parts, "</svg>"]) + "\n"


DETECTORS_INTRODUCTION = """# Detectors

<!-- Written by docs/generate.py from carsdepo_assets/families/: change it there. -->

The families of detectors. `training.detector` of the policy, `carsdepo train --detector` and a recipe's `detector` take
these names; without a word from a person the family is that of the model in production.

Nothing is downloaded unasked. `carsdepo weights get NAME` fetches a family's published weights into the home's folder
`weights/`, and compares their sha256 where one is published; a file that is put there by hand does as well. A first
model starts from a packaged backbone where its family has one, else from published weights that are there, else from
random ones. [Add a detector](how-to/add-a-detector.md) says how a package brings a family of its own.
"""


def detectors_page() -> str:
    """docs/detectors.md, as it must be."""
    from carsdepo_assets.families.built_in import BUILT_IN

    code = ["| name | family | licence of the code | needs | side on a CPU, a GPU |", "|---|---|---|---|---|"]
    weights = ["| name | starts from | published weights | licence of the weights |", "|---|---|---|---|"]
    for family in BUILT_IN:
        needs = ", ".join(family.libraries)
        sides = f"{family.cpu.photographs_px} px, {family.gpu.photographs_px} px"
        code.append(f"| `{family.name}` | {family.title} | {family.licence} | {needs} | {sides} |")
        published = family.pretrained
        file = f"`{published.file}`, about {published.megabytes:g} MB, {published.trained_on}" if published else ""
        licence = published.licence if published else family.imagenet_licence
        starts = ", ".join(f"`{start}`" for start in (*family.starts, "champion"))
        weights.append(f"| `{family.name}` | {starts} | {file} | {licence} |")
    what = "\n## What they are\n\n" + "\n".join(code)
    start = "\n\n## What they start from\n\n" + "\n".join(weights) + "\n"
    return DETECTORS_INTRODUCTION + what + start + _augmentation(BUILT_IN)


AUGMENTATION_INTRODUCTION = """
## How their trainings vary photographs

The values of `[augmentation]` that hold where the policy says nothing; what is not listed is off. In brackets: those of
a first recipe for the rendered sample. Levels are divided by 255; the mean is then subtracted and the rest divided by
the deviation. YOLOv8 varies photographs that ultralytics has shrunk to the network's side, so that a crop there has
fewer pixels; the others vary the stored copies.

"""


def _augmentation(families: Iterable[Family]) -> str:
    """Usual augmentation and normalisation of families; those that have the same share a row."""
    names: dict[tuple[str, str], list[str]] = {}
    for family in families:
        rendered = family.rendered_augmentation
        usual = ", ".join(
            f"`{field}` {value:g}" + (f" ({rendered[field]:g})" if field in rendered else "")
            for field, value in (family.augmentation or {}).items()
        )
        normalised = family.normalisation
        levels = "not told"
        if normalised is not None:
            mean, deviation = (", ".join(f"{v:.3g}" for v in values) for values in (normalised.mean, normalised.std))
            levels = f"mean {mean}; deviation {deviation}"
        names.setdefault((usual or "by the family itself", levels), []).append(f"`{family.name}`")
    rows = [f"| {', '.join(of)} | {usual} | {levels} |" for (usual, levels), of in names.items()]
    return (
        AUGMENTATION_INTRODUCTION
        + "\n".join(["| name | usual values | normalisation |", "|---|---|---|", *rows])
        + "\n"
    )


GENERATED = {
    "docs/policy.md": policy_page,
    "docs/detectors.md": detectors_page,
    "docs/aws.md": aws_page,
    "docs/aws-account.md": aws_account_page,
    "docs/import-cases.md": import_cases_page,
    "docs/how-to/training-findings.md": findings_page,
    "docs/pictures/layers.svg": layers_picture,
}

if __name__ == "__main__":
    for file, content in GENERATED.items():
        target = ROOT / file
        if not target.exists() or target.read_text() != content():
            target.write_text(content())
