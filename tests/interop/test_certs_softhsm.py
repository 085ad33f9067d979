"""Certificates on a PKCS#11 token are taken into the estate with where their key is."""

from __future__ import annotations

from pathlib import Path

import pytest

from signward.trust.x509 import load_certificate
from signward.verbs.estate import Estate, Given
from tests.builders.keyfiles import saying
from tests.builders.token import PIN, SoftHsm, missing_tool, module
from tests.signing import identity

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(missing_tool()), reason=missing_tool() or "all is there"),
]


def test_a_tokens_certificate_and_where_its_key_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = SoftHsm(tmp_path, monkeypatch)
    hsm.make_token("Release")
    hsm.put_key("Release", identity().key, "codesign", "01")
    hsm.put_certificate("Release", identity().certificate, "codesign", "01")
    hsm.ready()
    place = "pkcs11:token=Release;object=codesign"
    with Estate.open(tmp_path / "data") as estate:
        uri = f"{place}?module-path={module()}"
        assert estate.import_key(uri, Given(holder="Ann"), saying(PIN)).new == 1
        (held,) = estate.everything()
    assert held.fingerprint == load_certificate(identity().certificate).sha256.hex()
    assert (held.key_location, held.holder, held.sources) == (place, "Ann", (place,))
