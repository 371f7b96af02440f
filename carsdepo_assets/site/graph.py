"""Draws the lineage of a model or a prediction: its origins on the left, what followed from it on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

_WIDTH, _GAP, _HEIGHT, _STEP = 122, 20, 70, 88  # of a node, between columns, of a node, between rows; px
_FITS = (17, 13, 18)  # characters of title, value and note in a node


@dataclass(frozen=True)
class Node:
    """A box of the drawing, with three lines of text."""

    name: str
    """Its name, which the edges use."""
    column: int
    row: float
    title: str
    """The first line."""
    value: str
    """The second line, in large type."""
    note: str = ""
    """The third line."""
    href: str | None = None
    """Where a click leads; None: nowhere."""
    exists: bool = True
    """False for what has not happened yet."""
    current: bool = False
    """Whether the page is about this one."""


def lineage_graph(
    model: Mapping[str, Any],
    *,
    prediction: Mapping[str, Any] | None = None,
    answers: int | None = None,
    links: bool = True,
) -> Markup:
    """Draws the lineage of a model, or of one of its predictions.

    Args:
        model: The lineage, as `tracing.model_lineage` gives it.
        prediction: The prediction, as `tracing.prediction_lineage` gives it; None: the drawing is about the model.
        answers: The number of the model's answers, shown where there is no prediction.
        links: Whether the boxes are links.

    Returns:
        The drawing as SVG.
    """
    nodes = _nodes(model, prediction, answers)
    edges = [
        ("uploads", "photographs"), ("photographs", "dataset"), ("label_batches", "labels"), ("labels", "dataset"),
        ("dataset", "model"), ("recipe", "model"), ("parent", "model"), ("model", "evaluation"),
        ("evaluation", "gate"), ("gate", "production"), ("production", "predictions"),
    ]  # fmt: skip
    return drawn(nodes, edges, links=links)


def _nodes(model: Mapping[str, Any], prediction: Mapping[str, Any] | None, answers: int | None) -> list[Node]:
    data, page = model["dataset"], f"/models/{quote(model['digest'])}"
    total, splits = sum(data["splits"].values()), data["splits"]
    origins = data["revisions_by_origin"]
    version = f"version {model['version']}" if model["version"] else model["digest"]
    evaluation, gates, live = model["evaluation"], model["gates"], model["approved_by"]
    map50 = evaluation["figures"].get("map50") if evaluation else None
    nodes = [
        Node("uploads", 0, 0, "Upload batches", f"{len(data['upload_batches']):,}", href=f"{page}#data"),
        Node("photographs", 1, 0, "Photographs", f"{total:,}", href=f"{page}#data"),
        Node("label_batches", 0, 1, "Label batches", f"{len(data['label_batches']):,}", href=f"{page}#data"),
        Node(
            "labels", 1, 1, "Label revisions", f"{sum(origins.values()):,}",
            ", ".join(f"{n:,} {o}" for o, n in origins.items()), f"{page}#data",
        ),
        Node(
            "dataset", 2, 0.5, "Dataset", data["version"][:8],
            " / ".join(f"{splits.get(s, 0):,}" for s in ("train", "val", "test")) + " photos", f"{page}#data",
        ),
        Node("recipe", 2, 1.5, "Recipe", model["detector"], model["recipe"]["digest"], f"{page}#training"),
        Node("model", 3, 1, "Model", version, model["digest"][:12], page, current=prediction is None),
        Node(
            "evaluation", 4, 0.5, "Evaluation",
            "not yet" if evaluation is None else "undefined" if map50 is None else f"{map50:.3f}",
            "mAP@.5" if evaluation else "", f"/{evaluation['report_key']}" if evaluation else None,
            evaluation is not None,
        ),
        _gate(gates),
        Node(
            "production", 5, 1, "Production since" if live else "Production", live["at"][:10] if live else "not yet",
            _by(live["actor"]) if live else "", f"{page}#release", live is not None,
        ),
    ]  # fmt: skip
    parent = model["started_from"]
    if parent:
        nodes.append(Node("parent", 2, 2.5, "Started from", parent[:8], "weights", f"/models/{quote(parent)}"))
    if prediction is not None:
        answer = prediction["prediction"]
        identity, boxes = answer["prediction_id"], answer["n_boxes"]
        words = {"clear": "clear", "damage": "damage", "needs_person": "needs person"}
        nodes.append(
            Node(
                "predictions", 6, 1, "This prediction", words.get(answer["decision"], str(answer["decision"])),
                f"{boxes} box{'' if boxes == 1 else 'es'}", f"/predictions/{quote(identity)}",
                current=True,
            )
        )  # fmt: skip
    else:
        n = answers or 0
        href = f"/predictions?digest={quote(model['digest'])}" if n else None
        nodes.append(Node("predictions", 6, 1, "Predictions", f"{n:,}" if n else "none yet", "", href, bool(n)))
    return nodes


def _by(actor: str) -> str:
    return "by policy" if actor.startswith("auto:") else f"by {actor}"


def _gate(gates: Sequence[Mapping[str, Any]]) -> Node:
    if not gates:
        return Node("gate", 4, 1.5, "Gate", "not yet", exists=False)
    newest = gates[0]
    report = f"/{newest['report_key']}" if newest["report_key"] else None
    return Node("gate", 4, 1.5, "Gate", newest["verdict"], f"golden set {newest['golden']}", report)


def drawn(nodes: Sequence[Node], edges: Sequence[tuple[str, str]], *, links: bool = True) -> Markup:
    """Draws nodes and edges as SVG. All text is escaped.

    Args:
        nodes: The boxes.
        edges: Pairs of names of nodes; one whose node is missing is left out.
        links: Whether boxes with an `href` are links.
    """
    at = {n.name: n for n in nodes}
    columns = 1 + max(n.column for n in nodes)
    rows = max(n.row for n in nodes)
    width, height = columns * (_WIDTH + _GAP) - _GAP + 4, int(rows * _STEP + _HEIGHT + 4)
    lines = Markup("").join(_edge(at[a], at[b]) for a, b in edges if a in at and b in at)
    boxes = Markup("").join(_box(n, links) for n in nodes)
    return Markup(
        '<svg class="graph" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
        'aria-label="Lineage: from uploads and labels to model, release and predictions">{lines}{boxes}</svg>'
    ).format(w=width, h=height, lines=lines, boxes=boxes)


def _corner(node: Node) -> tuple[float, float]:
    return 2 + node.column * (_WIDTH + _GAP), 2 + node.row * _STEP


def _edge(a: Node, b: Node) -> Markup:
    (ax, ay), (bx, by) = _corner(a), _corner(b)
    kind = "" if a.exists and b.exists else ' class="dashed"'
    if a.column == b.column:
        x = ax + _WIDTH / 2
        return Markup('<path{k} d="M{x} {y1}V{y2}"/>').format(k=Markup(kind), x=x, y1=ay + _HEIGHT, y2=by)
    x1, y1, x2, y2 = ax + _WIDTH, ay + _HEIGHT / 2, bx, by + _HEIGHT / 2
    middle = (x1 + x2) / 2
    return Markup('<path{k} d="M{x1} {y1}C{m} {y1} {m} {y2} {x2} {y2}"/>').format(
        k=Markup(kind), x1=x1, y1=y1, x2=x2, y2=y2, m=middle
    )


def _box(node: Node, links: bool) -> Markup:
    x, y = _corner(node)
    kind = " ".join(k for k, on in (("node", True), ("absent", not node.exists), ("here", node.current)) if on)
    inner = Markup(
        '<g class="{kind}"><title>{tip}</title><rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>'
        '<text class="name" x="{t}" y="{y1}">{title}</text><text class="value" x="{t}" y="{y2}">{value}</text>'
        '<text class="note" x="{t}" y="{y3}">{note}</text></g>'
    ).format(
        kind=kind,
        tip=": ".join(p for p in (node.title, node.value) if p) + (f" ({node.note})" if node.note else ""),
        x=x, y=y, w=_WIDTH, h=_HEIGHT, t=x + 9, y1=y + 19, y2=y + 40, y3=y + 59,
        title=_cut(node.title, _FITS[0]), value=_cut(node.value, _FITS[1]), note=_cut(node.note, _FITS[2]),
    )  # fmt: skip
    if not links or node.href is None:
        return inner
    return Markup('<a href="{}">{}</a>').format(escape(node.href), inner)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
