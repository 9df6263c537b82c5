"""The report: on the terminal, and in `bench/results.md`."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.measure import Row

RESULTS = Path(__file__).parent / "results.md"
PACKAGES = (
    "django",
    "djangorestframework",
    "celery",
    "langgraph",
    "psycopg",
    "uvicorn",
)


def line(row: Row) -> str:
    details = "  ".join(f"{key} {value:.4g}" for key, value in row.details.items())
    verdict = "met" if row.is_met else "MISSED"
    bound = "at least" if row.more_is_better else "at most"
    return (
        f"{row.name:34} {row.value:8.2f} {row.unit:8}"
        f"  {bound} {row.budget:<6g} {verdict:7} {details}"
    )


def write(rows: list[Row]) -> None:
    table = [
        "| what | measured | budget | | details |",
        "|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.value:.2f} {row.unit}"
            f" | {'≥' if row.more_is_better else '≤'} {row.budget:g}"
            f" | {'met' if row.is_met else '**missed**'}"
            f" | {', '.join(f'{k} {v:.4g}' for k, v in row.details.items())} |"
            for row in rows
        ),
    ]
    RESULTS.write_text(
        "\n".join(
            [
                "# Benchmark",
                "",
                "One run of `make bench`: the server as `make serve` starts it, with",
                "`bench/langgraph.json`. CPU is that of all its processes together",
                "(supervisor, web, worker, beat, Postgres, Valkey) for one operation.",
                "",
                *machine(),
                "",
                *table,
                "",
            ]
        ),
        encoding="utf-8",
    )


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
