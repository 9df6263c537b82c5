from spool.assistants.tests.served import _system_assistants, graphs

__all__ = ["_system_assistants", "graphs"]
