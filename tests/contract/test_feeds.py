"""Every format's files can be revoked by a feed: whole, by content, publisher or certificate."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from signward.findings import Code
from signward.policy.publisher import publisher_of
from signward.state import Outcome, TrustedSignature, Verdict
from signward.trust.feed import Entry, RevokedDigest, RevokedPublisher
from tests.builders.feeds import ISSUED, feed, files, of_certificate
from tests.contract.test_signing import Sample, _names, _samples
from tests.signing import context, identity

NO_CERTIFICATES_REVOKED = {"apk", "efi-variable", "kernel-module", "elf", "rpm", "deb",
                           "clearsigned"}  # fmt: skip
"""Formats judged by lists of their own alone (firmware, the kernel), as ``.efi`` is, or by pins,
or by keys that no X.509 certificate holds."""

SINCE = ISSUED.replace(year=2020)


def judged(sample: Sample, data: bytes, folder: Path, *entries: Entry) -> Verdict:
    path, public = files(folder / "feed", feed(*entries))
    return sample.judge(data, context(folder, feeds=(path,), feed_keys=(public,)))


@pytest.mark.parametrize("name", _names())
def test_what_a_feed_names_is_refused(name: str, tmp_path: Path) -> None:
    sample = _samples()[name]
    data = sample.signed()
    plain = judged(sample, data, tmp_path)
    assert plain.outcome is Outcome.ACCEPTED
    (signature,) = [s for s in plain.signatures if isinstance(s, TrustedSignature)][:1]
    whole = hashlib.sha256(data).hexdigest()
    entries: dict[Code, list[Entry]] = {
        Code.DIGEST_REVOKED: [
            RevokedDigest(of="file", algorithm="sha256", digest=whole, revoked=SINCE)
        ],
        Code.PUBLISHER_REVOKED: [
            RevokedPublisher(identity=publisher_of(signature).identity, revoked=SINCE)
        ],
    }
    if not name.endswith(".efi") and sample.form not in NO_CERTIFICATES_REVOKED:
        entries[Code.REVOKED] = [of_certificate(identity().certificate, SINCE)]
    for key, value in plain.digests.items():
        algorithm = key.rpartition("-")[2]
        assert algorithm == "sha256"
        content = RevokedDigest(of="content", algorithm="sha256", digest=value.hex(),
                                revoked=SINCE)  # fmt: skip
        entries[Code.DIGEST_REVOKED].append(content)
    for cause, listed in entries.items():
        for entry in listed:
            assert judged(sample, data, tmp_path, entry).cause is cause, entry
