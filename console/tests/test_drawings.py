from __future__ import annotations

import re
from typing import Any

from spool.console.drawings import picture


def graph(*edges: tuple[str, str], conditional: bool = False) -> dict[str, Any]:
    names = dict.fromkeys(name for edge in edges for name in edge)
    return {
        "nodes": [{"id": name} for name in names],
        "edges": [
            {"source": a, "target": b, "conditional": conditional} for a, b in edges
        ],
    }


def places(svg: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)">([^<]*)</text>', svg)
    return {label: (float(x), float(y)) for x, y, label in found}


def test_a_node_is_below_all_that_lead_to_it() -> None:
    svg = picture(graph(("a", "b"), ("b", "d"), ("a", "c"), ("c", "d"), ("a", "d")))

    at = places(svg)
    assert at["a"][1] < at["b"][1] == at["c"][1] < at["d"][1]
    assert at["b"][0] != at["c"][0]
    assert svg.count("<path") == 6  # One is the arrow's head.


def test_a_loop_is_drawn() -> None:
    svg = picture(graph(("a", "b"), ("b", "a"), ("b", "b"), conditional=True))

    assert places(svg)["a"][1] < places(svg)["b"][1]
    assert svg.count('class="conditional"') == 3


def test_names_are_escaped() -> None:
    svg = picture(graph(("__start__", "<b>x</b>")))

    assert "&lt;b&gt;x&lt;/b&gt;" in svg
    assert "<b>" not in svg
    assert "start" in places(svg)


def test_a_graph_without_nodes_is_empty() -> None:
    assert picture({"nodes": [], "edges": []}).startswith("<svg")
