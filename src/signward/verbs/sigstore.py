"""Which Sigstore is trusted: the public one, that of a file, or none."""

from __future__ import annotations

from functools import lru_cache

from signward.trust.sigstore_root import TrustedRoot, read_trusted_root
from signward.verbs.options import Options, read_option

STORE = "sigstore"
"""The named store of the public Sigstore's authorities and logs."""


def load_trusted_root(options: Options) -> TrustedRoot:
    """Return the trust root that a run's options ask for.  Raises ``EvidenceError``.

    Whoever names other stores or anchors trusts nobody here, unless he names this store too.
    """
    if options.trusted_root:
        return read_trusted_root(options.trusted_root, read_option(options.trusted_root))
    if (options.stores or options.anchors) and STORE not in options.stores:
        return TrustedRoot(name="anchors")
    return _public()


@lru_cache(maxsize=1)
def _public() -> TrustedRoot:
    from importlib import resources  # costs 5 ms that only this store needs

    data = resources.files("signward.trust").joinpath("sigstore.json").read_bytes()
    return read_trusted_root(STORE, data)
