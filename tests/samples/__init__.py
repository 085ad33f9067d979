"""Unsigned samples of each signable format: a module per format is its registration.

A module named as its format offers ``SAMPLES``: file name to a function that builds an
unsigned file of that format, at most 8 KiB.  Where the format needs it, also

* ``OPTIONS``: further fields of the signing request, by file name;
* ``COMPANIONS``: files beside it, by file name: a mapping of relative name to bytes;
* ``exempt(data)``: offsets in a signed sample that its specification leaves uncovered;
* ``UNTIMED``: True where envelopes have no place for a timestamp;
* ``PINNED``: True where anchors are signers' own certificates, not authorities;
* ``HELD``: True where an OpenPGP certificate holds the signer's key, not an X.509 one;
* ``BYTE_EXACT``: True where stripping a signed file gives back every byte.

``tests/contract/test_signing.py`` runs every one of them through the contract.
"""
