"""Charts as SVG: bars for counts over time, in the colours of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# The units of the drawing, which is scaled to the width of its place on the page.
WIDTH, HEIGHT, GAP = 600, 120, 1


@dataclass(frozen=True, slots=True)
class Series:
    """Counts over time. `css_class` is a class of badges: good, bad, warn or info."""

    name: str
    css_class: str
    values: Sequence[float]


def stacked_bars(
    starts: Sequence[datetime],
    series: Sequence[Series],
    *,
    whole: Callable[[Sequence[float]], float] = sum,
) -> SafeString:
    """One bar for each start, with all series on top of each other, and a legend.

    The legend shows `whole` of each series' values, such as their sum or maximum.
    """
    wholes = [_number(whole(one.values)) for one in series]
    totals = [sum(one.values[n] for one in series) for n in range(len(starts))]
    highest = max(totals, default=0)
    step = WIDTH / max(len(starts), 1)
    bars = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        _bars(starts, series, step, highest or 1),
    )
    legend = format_html_join(
        " ",
        '<li class="{}"><span aria-hidden="true">■</span> {} {}</li>',
        (
            (one.css_class, one.name, number)
            for one, number in zip(series, wholes, strict=True)
        ),
    )
    return format_html(
        '<figure class="console-chart"><svg role="img" aria-label="{}" viewBox="0 0 {} {}" '
        'preserveAspectRatio="none">{}</svg>'
        '<div class="axis"><span>{}</span><span>at most {}</span><span>{}</span></div>'
        "<figcaption><ul>{}</ul></figcaption></figure>",
        ", ".join(
            f"{one.name} {number}" for one, number in zip(series, wholes, strict=True)
        ),
        WIDTH,
        HEIGHT,
        bars,
        f"{starts[0]:%m-%d %H:%M}" if starts else "",
        _number(highest),
        f"{starts[-1]:%m-%d %H:%M}" if starts else "",
        legend,
    )


def _bars(
    starts: Sequence[datetime], series: Sequence[Series], step: float, highest: float
) -> list[tuple[str, str, str, str, str, str]]:
    bars = []
    for number, start in enumerate(starts):
        top = float(HEIGHT)
        for one in series:
            value = one.values[number]
            if not value:
                continue
            # A single failure among thousands of runs must be visible, too.
            height = max(HEIGHT * value / highest, 2)
            top -= height
            bars.append(
                (
                    one.css_class,
                    f"{number * step:.2f}",
                    f"{max(top, 0):.2f}",
                    f"{max(step - GAP, 0.5):.2f}",
                    f"{height:.2f}",
                    f"{start:%m-%d %H:%M}: {_number(value)} {one.name}",
                )
            )
    return bars


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
