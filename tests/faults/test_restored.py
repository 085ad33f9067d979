"""An authority that is restored goes on: no number twice, and whoever saw more can prove it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from signward.authority.log.checkpoint import open_checkpoint
from signward.authority.log.faults import ForkError, RollbackError
from signward.authority.log.proof import check_consistency, consistency, open_receipt
from signward.authority.log.tiles import Tile
from signward.store import certificates
from signward.verbs.authority import publish_crl, revoke
from signward.verbs.authority.backup import backup
from signward.verbs.authority.feed import Publisher
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.restore import GAP, Restoring, restore
from signward.verbs.authority.transparency import FILE_NAME, transparency_of
from tests.builders.deeds import DEEDS, ISSUER, Nursery, Order
from tests.builders.ledger import Ledger, found_authority
