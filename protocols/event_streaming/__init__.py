"""Event streaming: the protocol of `threads.stream()`, over SSE and WebSocket.

A run that is started by the protocol is streamed as normalised events, which LangGraph
makes. They are kept and published like the events of any run. A client receives a
selection of the events of its thread.
"""
