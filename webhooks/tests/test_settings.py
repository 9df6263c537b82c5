"""`webhooks` of langgraph.json: invalid settings that stop the process at start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spool.webhooks.addresses import BadSettings, policy


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"headers": {"x": None}}, "headers.x must be a string"),
        ({"headers": {"x": 5}}, "headers.x must be a string"),
        ({"headers": {"a b": "x"}}, "'a b' is not a valid header name"),
        ({"headers": {"": "x"}}, "'' is not a valid header name"),
        (
            {"headers": {"x": "a\nb"}},
            "headers.x has a character that is not allowed in headers",
        ),
        (
            {"headers": {"x": "${{ env.LG_WEBHOOK_TOKEN }}"}},
            "headers.x has a character that is not allowed in headers",
        ),
        (
            {"headers": {"x": "ü"}},
            "headers.x has a character that is not allowed in headers",
        ),
        ({"env_prefix": 5}, "env_prefix must be a string"),
        (
            {"url": {"require_https": ""}},
            "url.require_https must be true or false, not ''",
        ),
        (
            {"url": {"disable_loopback": 0}},
            "url.disable_loopback must be true or false, not 0",
        ),
    ],
)
def test_what_can_not_work_is_refused(
    webhook_config: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, Any],
    reason: str,
) -> None:
    monkeypatch.setenv("LG_WEBHOOK_TOKEN", "read from a file\n")
    webhook_config(**section)

    with pytest.raises((BadSettings, SystemExit)) as refused:
        policy()

    # Errors of langgraph.json's model contain the whole key.
    text = str(refused.value).removeprefix("spool: langgraph.json: webhooks.")
    assert text == reason


def test_what_works_is_taken(webhook_config: Callable[..., None]) -> None:
    url = {"require_https": False, "disable_loopback": None}
    webhook_config(headers={"X-Api_Key.1": "Bearer x"}, url=url)

    assert policy().headers == {"X-Api_Key.1": "Bearer x"}
    assert (policy().require_https, policy().disable_loopback) == (False, True)
