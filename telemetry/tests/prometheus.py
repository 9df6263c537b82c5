"""Checks Prometheus's text format, as `promtool check metrics` does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL},?)*)\}})? (\S+)")
# Ends of the names of samples, by the type of their metric.
ENDINGS = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
    "untyped": ("",),
}
UNITS_TO_AVOID = re.compile(r"_(ms|millis|milliseconds|minutes|hours|kb|mb)(_|$)")

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """The samples of one metric, by the end of their names and their labels."""

    name: str
    kind: str
    help: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def labels(self) -> set[str]:
        return {key for _, labels in self.samples for key, _ in labels}


def parse(text: str) -> dict[str, Family]:
    """Parse the metrics of a scrape. Raises `AssertionError` for an invalid format."""
    assert text.endswith("\n"), "the last line has no end"
    families: dict[str, Family] = {}
    helps: dict[str, str] = {}
    current: Family | None = None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, text_of = line.split(" ", 3)
            assert name not in helps, f"{name} has two HELP lines"
            helps[name] = text_of
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ENDINGS, f"{name} has the unknown type {kind}"
            assert name not in families, f"{name} is there twice, or not in one group"
            current = families[name] = Family(name, kind, helps.get(name, ""))
        elif line:
            assert current, f"a sample without a type: {line}"
            _add(current, line)
    return families


def _add(family: Family, line: str) -> None:
    found = SAMPLE.fullmatch(line)
    assert found, f"no sample: {line}"
    name, text = found[1], found[2] or ""
    labels = re.findall(LABEL, text)
    assert len(dict(labels)) == len(labels), f"a label twice: {line}"
    ending = name.removeprefix(family.name)
    assert name.startswith(family.name), f"{name} is in the group of {family.name}"
    assert ending in ENDINGS[family.kind], f"{name} does not fit {family.kind}"
    key = (ending, tuple(sorted(labels)))
    assert key not in family.samples, f"a time series twice: {line}"
    family.samples[key] = float(found[5])


def problems(families: dict[str, Family]) -> list[str]:
    """Problems with names, units and texts, and histograms that don't add up."""
    return [problem for family in families.values() for problem in _problems(family)]


def _problems(family: Family) -> Iterator[str]:
    name = family.name
    if not family.help:
        yield f"{name} has no text"
    if (family.kind == "counter") != name.endswith("_total"):
        yield f"{name}: counters end with _total, and only these"
    if UNITS_TO_AVOID.search(name):
        yield f"{name}: use base units, seconds and bytes"
    if family.kind == "counter" and min(family.samples.values(), default=0) < 0:
        yield f"{name} is below zero"
    if family.kind == "histogram":
        yield from _problems_of_histogram(family)


def _problems_of_histogram(family: Family) -> Iterator[str]:
    series: defaultdict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for (ending, labels), value in family.samples.items():
        if ending == "_bucket":
            rest = tuple(pair for pair in labels if pair[0] != "le")
            series[rest].append((float(dict(labels)["le"]), value))
    for labels, buckets in series.items():
        counts = [count for _, count in sorted(buckets)]
        if sorted(buckets)[-1][0] != float("inf"):
            yield f"{family.name} {labels} has no bucket +Inf"
        if counts != sorted(counts):
            yield f"{family.name} {labels} has buckets that decrease"
        if family.samples.get(("_count", labels)) != counts[-1]:
            yield f"{family.name} {labels} has a count that is not its last bucket"
        if ("_sum", labels) not in family.samples:
            yield f"{family.name} {labels} has no sum"
