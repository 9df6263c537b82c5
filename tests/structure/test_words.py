"""Words for which code, comments, messages and pages use a plainer one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spool.tests.live import ROOT

# Pattern -> what to write instead.
WORSE = {
    r"somebody|nobody|whoever|anybody|everybody": "name the subject: a caller, a client",
    r"\b(?:im)?patien(?:ce|t)": "timeout",
    r"\binsist": "retry",
    r"\b(?:MOST|LEAST|DEEPEST|OLDEST|SHORTEST)_[A-Z]": "MAX_ or MIN_",
    r"\b(?:least|most)=": "minimum= or maximum=",
    r"(?-i:\bMend\b)": "correct",
    r"can't be made\b": "could not be built, or created",
}
# The Unix account of this name, which may be mentioned.
ACCOUNT = re.compile(r"`nobody`|[\"/]nobody[\"@]")
KINDS = {".py", ".md", ".toml", ".yaml", ".yml", ".html", ".js", ""}
SKIPPED = {"node_modules", "build", "dist", "__pycache__"}


def pages() -> list[Path]:
    return sorted(
        path
        for folder in ROOT.iterdir()
        if not folder.name.startswith(".") and folder.name not in SKIPPED
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.suffix in KINDS
        and path.is_file()
        and not SKIPPED & set(path.relative_to(ROOT).parts)
        and path != Path(__file__).resolve()
    )


@pytest.mark.parametrize(("word", "better"), WORSE.items(), ids=WORSE.values())
def test_the_plainer_word_is_used(word: str, better: str) -> None:
    pattern = re.compile(word, re.IGNORECASE if word[0] != "\\" else 0)

    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()} -> {better}"
        for path in pages()
        for number, line in enumerate(lines(path), 1)
        if pattern.search(ACCOUNT.sub("", line))
    ]

    assert found == []


def lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except UnicodeDecodeError:
        return []


def test_such_a_word_would_be_found() -> None:
    assert any(re.search(word, "a patience of 5 s") for word in WORSE)
    assert not re.search("nobody", ACCOUNT.sub("", 'getpwnam("nobody")'))
