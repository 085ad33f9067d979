"""x509-limbo (C2SP): where it is, how it is read, and where we differ on purpose.

The suite judges TLS servers.  It is read past its server names and TLS purpose: the
expected peer name is not compared, and the purpose is the case's own EKU or none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VECTORS = Path(os.environ.get("SIGNWARD_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))
LIMBO = VECTORS / "x509-limbo" / "limbo.json"

CASES = 138
