"""Spool, a self-hosted agent server: what puts the parts together, and their one name.

In a checkout the parts lie beside this folder (`runs/`, `store/`, …), in the wheel in it.
They are imported as `spool.runs`, `spool.store`, … in both.
"""

from os.path import dirname, exists, join

_root = dirname(dirname(__file__))
if exists(join(_root, "manage.py")) and exists(join(_root, "runs", "models.py")):
    __path__.append(_root)

del dirname, exists, join, _root
