"""Spool, a self-hosted agent server: the package that combines its parts.

In a checkout the parts are beside this folder (`runs/`, `store/`, …), in the wheel they
are inside it. In both they are imported as `spool.runs`, `spool.store`, ….
"""

from os.path import dirname, exists, join

_root = dirname(dirname(__file__))
if exists(join(_root, "manage.py")) and exists(join(_root, "runs", "models.py")):
    __path__.append(_root)

del dirname, exists, join, _root
