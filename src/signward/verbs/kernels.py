"""Where the kernels installed here lie: what store ``linux-kernel`` is made of."""

from __future__ import annotations

import glob
import os

PLACES = ("/boot/vmlinuz*", "/usr/lib/modules/*/vmlinuz")
"""Where distributions install kernel images."""

MAX_KERNELS = 32
"""Kernels looked into, each in half a second or so."""

STORE = "kernel:"
"""How a store is named that is what one kernel image carries: its path follows."""

SHIM = "shim:"
"""How a store begins that is a shim's vendor's; the file's path follows."""


def installed_kernels() -> list[str]:
    """Return the kernel images installed here, each once, sorted."""
    found = [path for place in PLACES for path in glob.glob(place)]  # noqa: PTH207 - strings
    return sorted({os.path.realpath(path) for path in found})[:MAX_KERNELS]
