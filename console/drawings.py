"""Graphs as pictures: SVG in the colours of the page, without scripts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# In pixels.
HEIGHT, ROW, GAP, MARGIN = 32, 72, 24, 12
CHARACTER, PADDING, MIN_WIDTH = 7.6, 24, 64
# How often each layer is sorted by the positions of its nodes' neighbours.
SWEEPS = 4
MAX_NODES = 200


@dataclass(slots=True)
class Node:
    id: str
    label: str
    layer: int = 0
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        return max(MIN_WIDTH, len(self.label) * CHARACTER + PADDING)


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str
    label: str
    is_conditional: bool


def picture(drawn: dict[str, Any]) -> SafeString:
    """The picture of a graph in the API's format: a dict of `nodes` and `edges`."""
    nodes = {
        str(node["id"]): Node(str(node["id"]), _label(str(node["id"])))
        for node in drawn.get("nodes", [])[:MAX_NODES]
    }
    edges = [
        Edge(
            str(edge["source"]),
            str(edge["target"]),
            str(edge.get("data") or ""),
            bool(edge.get("conditional")),
        )
        for edge in drawn.get("edges", [])
        if str(edge["source"]) in nodes and str(edge["target"]) in nodes
    ]
    back = _set_layers(nodes, edges)
    width, height = _place(nodes, edges)
    return _svg(nodes, edges, back, width, height)


def _label(node_id: str) -> str:
    """A node's name, with the prefix of its subgraph; `__start__` becomes `start`."""
    return node_id.strip("_") if node_id.startswith("__") else node_id


def _set_layers(nodes: dict[str, Node], edges: list[Edge]) -> set[Edge]:
    """Put each node below those that lead to it. Returns the edges that lead back."""
    following = defaultdict(list)
    for edge in edges:
        following[edge.source].append(edge)
    back: set[Edge] = set()
    finished: set[str] = set()
    for name in nodes:
        _visit(name, following, set(), finished, back)
    order: TopologicalSorter[str] = TopologicalSorter()
    for edge in edges:
        if edge not in back:
            order.add(edge.target, edge.source)
    for name in order.static_order():
        for edge in set(following[name]) - back:
            target = nodes[edge.target]
            target.layer = max(target.layer, nodes[name].layer + 1)
    return back


def _visit(
    name: str,
    following: Mapping[str, list[Edge]],
    above: set[str],
    finished: set[str],
    back: set[Edge],
) -> None:
    """Add edges that lead back to a node above. Recurses at most `MAX_NODES` deep."""
    if name in finished:
        return
    above.add(name)
    for edge in following[name]:
        if edge.target in above:
            back.add(edge)
        else:
            _visit(edge.target, following, above, finished, back)
    above.remove(name)
    finished.add(name)


def _place(nodes: dict[str, Node], edges: list[Edge]) -> tuple[float, float]:
    """Set the centre of each node. Returns the size of the picture."""
    layers: dict[int, list[Node]] = defaultdict(list)
    for node in nodes.values():
        layers[node.layer].append(node)
    neighbours = defaultdict(list)
    for edge in edges:
        neighbours[edge.source].append(nodes[edge.target])
        neighbours[edge.target].append(nodes[edge.source])
    rows = [layers[number] for number in sorted(layers)]
    for row in rows:
        _spread(row)
    for _ in range(SWEEPS):
        for row in rows:
            row.sort(key=lambda node: _middle(neighbours[node.id], node))
            _spread(row)
    width = max((_width(row) for row in rows), default=0) + 2 * MARGIN
    for number, row in enumerate(rows):
        for node in row:
            node.x += width / 2
            node.y = MARGIN + HEIGHT / 2 + number * ROW
    # Space for edges that lead back, on the right.
    return width + 3 * MARGIN, 2 * MARGIN + HEIGHT + max(len(rows) - 1, 0) * ROW


def _middle(around: list[Node], node: Node) -> float:
    return sum(one.x for one in around) / len(around) if around else node.x


def _width(row: list[Node]) -> float:
    return sum(node.width for node in row) + GAP * (len(row) - 1)


def _spread(row: list[Node]) -> None:
    left = -_width(row) / 2
    for node in row:
        node.x = left + node.width / 2
        left += node.width + GAP


def _svg(
    nodes: dict[str, Node],
    edges: list[Edge],
    back: set[Edge],
    width: float,
    height: float,
) -> SafeString:
    return format_html(
        '<svg class="graph" role="img" aria-label="{} nodes and {} edges" '
        'viewBox="0 0 {} {}" width="{}" height="{}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
        "{}{}</svg>",
        len(nodes),
        len(edges),
        f"{width:.0f}",
        f"{height:.0f}",
        f"{width:.0f}",
        f"{height:.0f}",
        _arrows(nodes, edges, back, width),
        _boxes(nodes),
    )


def _arrows(
    nodes: dict[str, Node], edges: list[Edge], back: set[Edge], width: float
) -> SafeString:
    return format_html_join(
        "",
        '<path class="{}" d="{}" marker-end="url(#arrow)"><title>{}</title></path>',
        (
            (
                "conditional" if edge.is_conditional else "",
                _path(nodes[edge.source], nodes[edge.target], edge in back, width),
                f"{edge.source} → {edge.target} {edge.label}".strip(),
            )
            for edge in edges
        ),
    )


def _boxes(nodes: dict[str, Node]) -> SafeString:
    return format_html_join(
        "",
        '<g><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<text x="{}" y="{}">{}</text></g>',
        (
            (
                f"{node.x - node.width / 2:.1f}",
                f"{node.y - HEIGHT / 2:.1f}",
                f"{node.width:.1f}",
                HEIGHT,
                f"{node.x:.1f}",
                f"{node.y:.1f}",
                node.label,
            )
            for node in nodes.values()
        ),
    )


def _path(source: Node, target: Node, leads_back: bool, width: float) -> str:
    if leads_back:
        right = width - MARGIN
        begin, end = source.x + source.width / 2, target.x + target.width / 2
        return (
            f"M{begin:.1f} {source.y:.1f}C{right:.1f} {source.y:.1f} "
            f"{right:.1f} {target.y:.1f} {end:.1f} {target.y:.1f}"
        )
    top, bottom = source.y + HEIGHT / 2, target.y - HEIGHT / 2
    half = (top + bottom) / 2
    return (
        f"M{source.x:.1f} {top:.1f}C{source.x:.1f} {half:.1f} "
        f"{target.x:.1f} {half:.1f} {target.x:.1f} {bottom:.1f}"
    )
