"""LangGraph's own store on Postgres gives the same results, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)
from langgraph.store.postgres import PostgresStore as Reference

from spool.database.loop import conninfo
from spool.store.tests.clients import Caller

pytestmark = pytest.mark.django_db

SCHEMA = "reference"


@pytest.fixture(scope="module")
def reference(django_db_setup: None) -> Iterator[Reference]:
    schema = f"{conninfo()} options='-c search_path={SCHEMA}'"
    with Reference.from_conn_string(schema) as store:
        store.conn.execute(f"CREATE SCHEMA {SCHEMA}")  # type: ignore[union-attr]
        store.setup()
        yield store
        store.conn.execute(f"DROP SCHEMA {SCHEMA} CASCADE")  # type: ignore[union-attr]


# Characters with a meaning in patterns, or that sort before or after the "." of labels.
labels = st.sampled_from(
    ["a", "b", "a b", "a-b", "a/b", "%", "_", "*x", "(", "\\", "é"]
)
patterns = st.lists(labels | st.just("*"), max_size=3).map(tuple)
places = st.tuples(
    st.lists(labels, min_size=1, max_size=3).map(tuple), st.sampled_from(["k", "l"])
)
scalars = st.sampled_from([1, 2.5, "1", "x", True, None])
fields = st.sampled_from(["n", "m"])
values = st.dictionaries(fields, scalars | st.just([1]), max_size=2)
wanted = scalars | st.builds(lambda v: {"$eq": v}, scalars)
filters = st.dictionaries(fields, wanted | st.builds(lambda v: {"$ne": v}, scalars))
limits = st.sampled_from([1, 3, 100])
offsets = st.sampled_from([0, 0, 1])

puts = st.builds(
    lambda place, v: PutOp(place[0], place[1], v), places, st.none() | values
)
gets = st.builds(lambda place: GetOp(place[0], place[1]), places)
searches = st.builds(
    SearchOp,
    st.lists(labels, max_size=2).map(tuple),
    st.none() | filters,
    limits,
    offsets,
)
conditions = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), patterns)
listings = st.builds(
    ListNamespacesOp,
    st.lists(conditions, max_size=2).map(tuple),
    st.none() | st.integers(1, 3),
    limits,
    offsets,
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    writes=st.lists(puts, max_size=15),
    reads=st.lists(gets | searches | listings, min_size=5, max_size=15),
)
def test_it_answers_as_the_reference_does(
    make_caller: Callable[[str], Caller],
    reference: Reference,
    writes: list[Op],
    reads: list[Op],
) -> None:
    ours = make_caller("model")
    old = ours.search((), limit=1000)
    ours.batch([PutOp(item.namespace, item.key, None) for item in old])
    reference.conn.execute("TRUNCATE store")  # type: ignore[union-attr]

    for write in writes:  # In one batch, all would get the same time of change.
        ours.batch([write])
        reference.batch([write])

    assert list(map(_plain, ours.batch(reads))) == [
        # Read one at a time: the reference may mix up the results of several reads.
        _plain(reference.batch([read])[0])
        for read in reads
    ]


def _plain(found: Any) -> Any:
    if isinstance(found, list):
        return [_plain(one) for one in found]
    is_item = isinstance(found, Item)
    return (found.namespace, found.key, found.value) if is_item else found
