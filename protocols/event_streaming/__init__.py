"""Event streaming: the protocol of `threads.stream()`, over SSE and WebSocket.

A run that a client of it starts is streamed in the protocol's normalised events, which
LangGraph makes; they are kept and published like those of any run, and what a client
receives is a selection of the events of its thread.
"""
