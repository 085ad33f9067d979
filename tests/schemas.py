"""The schemas that generated policies are validated against, from the shared folder.

They are looked for in ``$SIGNWARD_SHARED/schemas``, else ``../shared/schemas`` beside the
repository; where they are absent a test skips, with a reason that begins ``schemas:``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.corpus import REPOSITORY


def schemas() -> Path:
    """Return the folder of schemas, or skip the test that asks."""
    named = os.environ.get("SIGNWARD_SHARED")
    folder = (Path(named) if named else REPOSITORY.parent / "shared") / "schemas"
    if not folder.is_dir():
        pytest.skip(f"schemas: none in {folder} (SIGNWARD_SHARED)")
    return folder


def check_windows(schema: str, document: bytes) -> None:
    """Fail unless the document is valid by an XML Schema of Windows."""
    known: Any = etree.XMLSchema(etree.parse(schemas() / "windows" / schema))
    known.assertValid(etree.fromstring(document))
