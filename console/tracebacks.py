"""Tracebacks for reading: the frames of libraries are folded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FRAME = re.compile(
    r'^ {2,}(?:[|] )?File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$'
)
_LIBRARY = re.compile(r"/site-packages/|/dist-packages/|/lib/python\d|^<frozen ")


@dataclass(slots=True)
class _Part:
    """A frame with its lines, or the lines between two tracebacks."""

    lines: list[str] = field(default_factory=list)
    is_library: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True)
class Traceback:
    """A traceback for reading.

    `text` is all of it, and `own` is without the frames of libraries; `own` is empty if
    that would leave out no frame or every frame. `place` is the last frame that is not
    of a library, empty if there is none.
    """

    text: str
    own: str
    place: str


def read(text: str) -> Traceback:
    parts = list(_parts(text))
    own = [part for part in parts if part.place and not part.is_library]
    place = own[-1].place if own else ""
    is_shorter = own and any(part.is_library for part in parts)
    return Traceback(text, "\n".join(_folded(parts)) if is_shorter else "", place)


def _parts(text: str) -> Iterator[_Part]:
    part = _Part()
    for line in text.split("\n"):
        if frame := _FRAME.match(line):
            yield part
            place = f"{frame['path']}, line {frame['line']}, in {frame['name']}"
            is_library = bool(_LIBRARY.search(frame["path"]))
            part = _Part(is_library=is_library, place=place)
        elif part.place and not line.startswith("    "):
            yield part
            part = _Part()
        part.lines.append(line)
    yield part


def _folded(parts: list[_Part]) -> Iterator[str]:
    hidden = 0
    for part in parts:
        if part.is_library:
            hidden += 1
            continue
        if hidden:
            yield f"  … {hidden} frame{'s' if hidden > 1 else ''} of libraries"
            hidden = 0
        yield from part.lines
