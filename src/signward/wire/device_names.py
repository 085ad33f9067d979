"""Images of network devices whose content does not tell what they are: told by their names.

Nothing is believed for a name: it says only that a device checks a signature in here that no
public document specifies, so that such a file is neither called unsigned nor signed.
"""

from __future__ import annotations

import re

_CISCO = re.compile(r"\.S[PS][A-Z]\.(?:[^/]*\.)?(?:bin|pkg|iso)\Z")
_JUNOS = re.compile(r"(?:.*/)?(?:junos|jinstall|jbundle|jpfe|jdocs|jloader)-[^/]*\.tgz\Z")


def is_cisco(name: str) -> bool:
    """Say whether a file is named as Cisco names what it signed.

    That is S, then P (production) or S (special), then the key's version, as in
    ``isr4300-universalk9.16.09.04.SPA.bin`` ("Digitally Signed Cisco Software").
    """
    return name.endswith(("bin", "pkg", "iso")) and _CISCO.search(name) is not None


def is_junos(name: str) -> bool:
    """Say whether a file is named as Juniper names its packages (``junos-arm-32-22.4R3.tgz``)."""
    return name.endswith(".tgz") and _JUNOS.match(name) is not None
