"""The report: on the terminal, and as a section of `bench/results.md`."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from spool.bench.measure import Row

RESULTS = Path(__file__).parent / "results.md"
TITLE = "# Benchmark\n\nEach section is one run of the program that it names, on a server of its own as\n`make serve` starts it.\n"
PACKAGES = (
    "django",
    "djangorestframework",
    "celery",
    "langgraph",
    "psycopg",
    "uvicorn",
)


def finish(heading: str, about: str, rows: list[Row], *, write: bool) -> int:
    """Print the rows, and write them if `write`. Return the exit status."""
    for row in rows:
        print(line(row))
    if write:
        write_section(heading, about, rows)
    return 0 if all(row.is_met for row in rows) else 1


def line(row: Row) -> str:
    verdict = ""
    if row.budget is not None:
        bound = "at least" if row.more_is_better else "at most"
        met = "met" if row.is_met else "MISSED"
        verdict = f"{bound} {row.budget:<6g} {met}"
    details = "  ".join(f"{key} {value:.4g}" for key, value in row.details.items())
    multiple = f"{row.measured:8.2f} x" if row.floor else " " * 10
    measured = f"{row.value:8.2f} {row.unit:8} {multiple}"
    return f"{row.name:44} {measured} {verdict:22} {details}"


def write_section(heading: str, about: str, rows: list[Row]) -> None:
    """Replace the section with the same heading, or add this section at the end."""
    found = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else TITLE
    title, *sections = found.split("\n## ")
    table = [
        "| what | measured | floors | budget | | details |",
        "|---|---|---|---|---|---|",
        *map(table_row, rows),
    ]
    new = "\n".join([heading, "", about, "", *machine(), "", *table, ""])
    headings = [section.partition("\n")[0] for section in sections]
    if heading in headings:
        sections[headings.index(heading)] = new
    else:
        sections.append(new)
    RESULTS.write_text("\n## ".join([title, *sections]), encoding="utf-8")


def table_row(row: Row) -> str:
    budget, met = "", ""
    if row.budget is not None:
        budget = f"{'≥' if row.more_is_better else '≤'} {row.budget:g}"
        met = "met" if row.is_met else "**missed**"
    details = ", ".join(f"{key} {value:.4g}" for key, value in row.details.items())
    multiple = f"{row.measured:.2f}" if row.floor else ""
    return (
        f"| {row.name.strip()} | {row.value:.2f} {row.unit} | {multiple} | {budget} |"
        f" {met} | {details} |"
    )


def add_to_history(heading: str, about: str, rows: list[Row]) -> None:
    """Add a line for this commit to the section. Replaces the commit's earlier line."""
    title, *sections = RESULTS.read_text(encoding="utf-8").split("\n## ")
    names = [row.name for row in rows]
    table = [f"| commit | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    written = [section for section in sections if section.startswith(heading)]
    if written and table[0] in written[0]:
        lines = written[0].split(table[1] + "\n", 1)[1].splitlines()
        table += [line for line in lines if line.startswith("| ")]
    commit = f"| {_commit()} |"
    table = [line for line in table if not line.startswith(commit)]
    figures = " | ".join(f"{row.measured:.2f}" for row in rows)
    new = "\n".join([heading, "", about, "", *table, f"{commit} {figures} |", ""])
    others = [section for section in sections if not section.startswith(heading)]
    RESULTS.write_text("\n## ".join([title, new, *others]), encoding="utf-8")


def machine() -> list[str]:
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"- {_processor()}, {os.cpu_count()} cores, {memory:.0f} GB,"
        f" {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}, {packages}",
        f"- commit {_commit()}, load average at the end {os.getloadavg()[0]:.1f}"
        " (the load itself and the client included)",
    ]


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.split(": ", 1)[1]
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
