"""Hints for missing packages that a user's module imports."""

from __future__ import annotations

import sys
from importlib.util import find_spec

# Packages whose names differ from those of their modules in more than dashes.
PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "magic": "python-magic",
    "PIL": "pillow",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "slack_sdk": "slack-sdk",
    "yaml": "pyyaml",
}


def install_hint(exc: BaseException) -> str:
    """A hint for an error by a missing package, or by a relative import; or ""."""
    if isinstance(exc, ImportError) and "relative import" in str(exc):
        return (
            "; a file that is named by its path is in no package: import absolutely "
            "(`from my_agent.tools import …`), or name its module (my_agent.graph:graph)"
        )
    if not isinstance(exc, ModuleNotFoundError) or not exc.name:
        return ""
    module = exc.name.partition(".")[0]
    if module in sys.stdlib_module_names or _is_there(module):
        return ""  # A submodule is missing: another version, or a user's file.
    package = PACKAGES.get(module, module.replace("_", "-"))
    return f"; if it is a package: pip install {package}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
