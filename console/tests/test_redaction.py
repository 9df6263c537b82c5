from __future__ import annotations

import pytest

from spool.console.redaction import redacted, without_secrets
from spool.console.trees import tree


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            'client = Client(api_key="sk-123", name="x")',
            'client = Client(api_key=***, name="x")',
        ),
        ("OPENAI_API_KEY=sk-123 other=1", "OPENAI_API_KEY=*** other=1"),
        ("{'db_password': 'a, b', 'user': 'x'}", "{'db_password': ***, 'user': 'x'}"),
        ("auth_token: abc.def", "auth_token: ***"),
        ("CLIENT_SECRET = 'it\\'s'", "CLIENT_SECRET = ***"),
        ("postgresql://me:pa55@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("redis://:pa55@cache/0", "redis://:***@cache/0"),
        ("Authorization: Bearer abcdefghijk", "Authorization: ***"),
        ("header 'Bearer abcdefghijk'", "header 'Bearer ***'"),
    ],
)
def test_secrets_are_removed(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=5",
        "KeyError: 'topic'",
        "https://example.com:8080/path",
        'File "/app/keys.py", line 17, in tokenize',
        "the key is missing",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_documents_lose_their_secrets() -> None:
    given = {
        "api_key": {"of": ["sk-1"]},
        "url": "postgres://me:pa55@db/x",
        "said": ["my password: tea", 5],
        "max_tokens": 7,
        "token": "",
    }

    assert redacted(given) == {
        "api_key": "***",
        "url": "postgres://me:***@db/x",
        "said": ["my password: ***", 5],
        "max_tokens": 7,
        "token": "",
    }
    hidden = tree(given, hides_secrets=True)
    assert not any(one in hidden for one in ("sk-1", "pa55", "tea"))
    assert "sk-1" in tree(given)


@pytest.mark.parametrize("text", ["a.", "key", "http://", 'key="', "x-y:", "a@b:c "])
def test_a_long_text_takes_no_longer_than_its_length(text: str) -> None:
    assert len(without_secrets(text * 200_000)) > 0
