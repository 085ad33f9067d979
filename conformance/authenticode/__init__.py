"""An Authenticode conformance suite: builders, cases with expectations, runners.

Every builder computes digests and structures with its own code, so that it is a second
opinion about ``signward.formats`` and ``signward.envelopes``; only the DER *writer*
(``signward.wire.der``) is shared.
"""
