"""Unsigned catalogs: lists as makecat leaves them."""

from conformance.authenticode.pki import NOW

from signward.formats._catalog_draft import Member, unsigned_catalog

_MEMBERS = (
    Member(name="driver.sys", digest=bytes(range(32)), image=True),
    Member(name="driver.inf", digest=bytes(32)),
)
SAMPLES = {"driver.cat": lambda: unsigned_catalog(_MEMBERS, NOW)}
BYTE_EXACT = True
