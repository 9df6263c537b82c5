from __future__ import annotations

from spool.console.tracebacks import read

TEXT = """\
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/langgraph/runner.py", line 8, in run
    return await task()
           ^^^^^^^^^^^^
  File "/venv/lib/python3.11/site-packages/langgraph/tool.py", line 9, in call
    return tool()
  File "/app/graph.py", line 12, in node
    stock()
  File "/usr/lib/python3.11/asyncio/tasks.py", line 3, in wait
    yield
KeyError: 'tea'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/graph.py", line 17, in stock
    raise ValueError("no tea")
ValueError: no tea"""


def test_frames_of_libraries_are_folded() -> None:
    found = read(TEXT)

    assert found.place == "/app/graph.py, line 17, in stock"
    assert found.text == TEXT
    assert (
        found.own
        == """\
Traceback (most recent call last):
  … 2 frames of libraries
  File "/app/graph.py", line 12, in node
    stock()
  … 1 frame of libraries
KeyError: 'tea'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/graph.py", line 17, in stock
    raise ValueError("no tea")
ValueError: no tea"""
    )


def test_a_traceback_of_libraries_alone_stays_whole() -> None:
    text = "\n".join([*TEXT.split("\n")[:6], "ValueError: no tea"])

    assert (read(text).own, read(text).place) == ("", "")
    assert read("no traceback").own == ""
