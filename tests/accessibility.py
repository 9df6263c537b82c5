"""Check a page in the browser with axe-core, which npm installs."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver import Chrome

from spool.tests.compat.javascript import install

FOLDER = Path(__file__).parent / "e2e" / "axe"
SCRIPT = """
const [rules, done] = arguments;
const only = rules.length ? {runOnly: {type: 'rule', values: rules}} : {};
axe.run({resultTypes: ['violations'], ...only}).then(({violations}) => done(violations
    .filter(({impact}) => ['serious', 'critical'].includes(impact))
    .flatMap(({id, nodes}) => nodes.map(({html, any, all, none}) =>
        `${id}: ${html.slice(0, 300)}: ${[...any, ...all, ...none].map(one => one.message)}`
    ))
));
"""


def axe() -> str:
    """The source of axe-core, for `violations`."""
    install(FOLDER)
    return (FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


def violations(browser: Chrome, program: str, *rules: str) -> list[str]:
    """The serious and critical violations of all rules, or of the given ones."""
    browser.execute_script(program)
    found: list[str] = browser.execute_async_script(SCRIPT, rules)
    return found
