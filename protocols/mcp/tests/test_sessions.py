from __future__ import annotations

import pytest
from django.conf import LazySettings
from mcp_types import (
    ClientCapabilities,
    ElicitationCapability,
    FormElicitationCapability,
    UrlElicitationCapability,
)

from spool.protocols.mcp.sessions import (
    UnknownSession,
    can_elicit,
    find_session,
    new_session,
)

FORM, URL = FormElicitationCapability(), UrlElicitationCapability()


@pytest.mark.parametrize(
    ("elicitation", "expected"),
    [
        (None, False),
        (ElicitationCapability(), True),
        (ElicitationCapability(form=FORM), True),
        (ElicitationCapability(form=FORM, url=URL), True),
        (ElicitationCapability(url=URL), False),
    ],
)
def test_a_session_knows_what_its_client_can(
    elicitation: ElicitationCapability | None, expected: bool
) -> None:
    session = new_session(ClientCapabilities(elicitation=elicitation))

    assert session.elicits is expected
    assert can_elicit(session.capabilities) is expected
    assert find_session(session.id) == session


def test_a_client_that_says_nothing_can_nothing() -> None:
    assert not new_session(None).elicits


def test_two_sessions_are_never_the_same() -> None:
    assert new_session(None).id != new_session(None).id


def test_a_sessions_id_is_visible_ascii() -> None:
    assert all(0x21 <= ord(one) <= 0x7E for one in new_session(None).id)


def test_an_id_from_elsewhere_is_unknown(settings: LazySettings) -> None:
    session_id = new_session(None).id
    settings.SECRET_KEY = "another server's key, and as long as this one's"

    for text in (session_id, "", "abc", "a:b:c", "é"):
        with pytest.raises(UnknownSession):
            find_session(text)


def test_a_session_survives_a_new_key(settings: LazySettings) -> None:
    session = new_session(None)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key than before, and as long as this one"

    assert find_session(session.id) == session
