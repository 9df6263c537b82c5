from support_agent.graph import graph

__all__ = ["graph"]
