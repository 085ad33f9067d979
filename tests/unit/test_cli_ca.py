"""``signward ca``: as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from signward.authority.crl import REASONS
from signward.authority.profiles import ROOT, profiles
from signward.cli import ca_arguments as ca
from signward.cli import main
from signward.errors import EvidenceError
from signward.keys._generate import GENERATED
from signward.trust.crl import load_crl
from signward.verbs.authority.export import FORMS
from tests.builders.authority import private


class Shell:
    """Runs the command on one data folder, and keeps what it said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.out = self.err = ""

    def __call__(self, action: str, *words: str | Path) -> int:
        code = main(["ca", action, "--data", str(self.folder / "data"), *map(str, words)])
        self.out, self.err = self._capsys.readouterr()
        return code

    def said(self, action: str, *words: str | Path) -> str:
        assert self(action, *words) == 0, self.err
        return self.out


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture
def founded(shell: Shell) -> Shell:
    shell.said("init", "--name", "Example Ltd", "--country", "SE")
    return shell


def issue(shell: Shell, name: str = "release", *more: str) -> Path:
    target = shell.folder / f"{name}.pem"
    shell.said("issue", "--profile", "code-signing", "--subject", name, "--new-key",
               shell.folder / f"{name}.key", "-o", target, *more)  # fmt: skip
    return target


def test_words_of_the_command_line_are_the_tables_words() -> None:
    assert set(ca.PROFILES) == set(profiles()) - {ROOT}
    assert tuple(REASONS) == ca.REASONS
    assert GENERATED == ca.KINDS
    assert FORMS == ca.FORMS


def test_init_tells_what_was_made_and_what_comes_next(shell: Shell) -> None:
    out = shell.said("init", "--name", "Example Ltd", "--country", "SE")
    assert "CN=Example Ltd Code Signing Root,O=Example Ltd,C=SE" in out
    for words in ("signward ca issue --data", "signward serve --data", "keys/root.pem", "--ca-key"):
        assert words in out
    assert shell.err == ""
    assert shell("init", "--name", "Example Ltd") == 2
    assert "something there already" in shell.err


def test_a_dry_run_makes_nothing(shell: Shell) -> None:
    out = shell.said("init", "--name", "Example Ltd", "--dry-run", "--root-algorithm", "rsa-4096")
    assert "root           rsa-4096   to be made" in out
    assert list(shell.folder.iterdir()) == []
    assert shell("init", "--name", "Example Ltd", "--dry-run", "--key", "root") == 2
    assert "NAME=URI" in shell.err


def test_init_as_json(shell: Shell) -> None:
    told = json.loads(shell.said("init", "--name", "Example Ltd", "--json"))
    assert told["keys"]["root"] == "file:keys/root.pem"
    assert "no country" in " ".join(told["warnings"])


def test_a_new_key_is_certified(founded: Shell) -> None:
    path = issue(founded)
    key = serialization.load_pem_private_key((founded.folder / "release.key").read_bytes(), None)
    leaf, issuer, root = x509.load_pem_x509_certificates(path.read_bytes())
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    assert (founded.folder / "release.key").stat().st_mode & 0o777 == 0o600
    assert "log entry" in founded.err


def test_a_request_is_certified_and_what_it_wishes_is_told(founded: Shell) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "By request"),
                      x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Other Ltd")])  # fmt: skip
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = builder.add_extension(usage, critical=False).sign(private("cli"), hashes.SHA256())
    path = founded.folder / "request.pem"
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    out = founded.said("issue", "--profile", "code-signing", "--request", path)
    (leaf, *_) = x509.load_pem_x509_certificates(out.encode())
    assert leaf.subject.rfc4514_string() == "CN=By request,O=Other Ltd"
    assert "asks for extensions 2.5.29.37" in founded.err
    assert "'Other Ltd'" in founded.err


def test_nothing_is_left_of_a_key_that_was_not_certified(founded: Shell) -> None:
    key = founded.folder / "new.key"
    words = ("--profile", "code-signing", "--subject", "x", "--new-key", key)
    assert founded("issue", *words, "--valid", "500d") == 2
    assert "required at most 460 days" in founded.err
    assert not key.exists()
    assert founded("issue", *words, "--dry-run") == 0
    assert "would issue CN=x,O=Example Ltd,C=SE" in founded.err
    assert not key.exists()
    key.write_text("somebody's")
    assert founded("issue", *words) == 2
    assert key.read_text() == "somebody's"


def test_a_new_key_may_be_encrypted(founded: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNWARD_PASSWORD", "long secret")
    issue(founded, "release", "--encrypted")
    pem = (founded.folder / "release.key").read_bytes()
    serialization.load_pem_private_key(pem, b"long secret")


def test_revoking_and_listing(founded: Shell) -> None:
    path = issue(founded)
    assert founded("revoke", "--reason", "keyCompromise", "--dry-run", path) == 0
    assert "would revoke" in founded.err
    out = founded.said("revoke", "--reason", "keyCompromise", path)
    assert "revoked " in out
    assert "published CRL 2 of issuing" in out
    crl = load_crl(_crl(founded))
    (leaf, *_) = x509.load_pem_x509_certificates(path.read_bytes())
    entry = crl.entry(leaf.serial_number, crl.issuer)
    assert entry is not None
    assert entry.reason == "keyCompromise"
    table = founded.said("list", "--revoked").splitlines()
    assert len(table) == 2
    assert "CN=release,O=Example Ltd,C=SE (keyCompromise, " in table[1]
    (one,) = json.loads(founded.said("list", "--revoked", "--json"))
    assert (one["status"], one["serial"]) == ("revoked", f"{leaf.serial_number:x}")
    assert founded("revoke", "--reason", "superseded", path) == 2
    assert "required one not revoked yet" in founded.err
    assert founded("revoke", "--reason", "superseded", "--dry-run", path) == 2


def _crl(shell: Shell) -> bytes:
    target = shell.folder / "issuing.crl"
    shell.said("export", "--crl", "--form", "der", "-o", target, "issuing")
    return target.read_bytes()


def test_several_are_revoked_by_one_crl(founded: Shell) -> None:
    paths = [issue(founded, name) for name in ("a", "b", "c")]
    out = founded.said("revoke", "--reason", "cessationOfOperation", *paths)
    assert out.count("revoked ") == 3
    assert out.count("published CRL") == 1


def test_one_that_is_unknown_stops_all(founded: Shell) -> None:
    path = issue(founded)
    assert founded("revoke", "--reason", "superseded", path, "abcdef") == 2
    assert "required one that was issued here" in founded.err
    assert founded.said("list", "--revoked").count("\n") == 1


def test_renewing(founded: Shell) -> None:
    path = issue(founded)
    out = founded.said("renew", path)
    (old, *_), (new, *_) = map(x509.load_pem_x509_certificates, (path.read_bytes(), out.encode()))
    assert new.public_key() == old.public_key()
    assert new.serial_number != old.serial_number
    assert founded("renew", "--dry-run", "tsa") == 0
    assert "would renew CN=Example Ltd Code Signing Timestamping" in founded.err
    before = (founded.folder / "data" / "certificates" / "tsa.pem").read_bytes()
    told = json.loads(founded.said("renew", "--json", "tsa"))
    after = (founded.folder / "data" / "certificates" / "tsa.pem").read_bytes()
    assert after == told["path"].encode() != before


def test_a_root_whose_key_is_elsewhere(founded: Shell) -> None:
    safe = founded.folder / "safe.pem"
    (founded.folder / "data" / "keys" / "root.pem").rename(safe)
    assert founded("crl", "--ca", "root") == 2
    out = founded.said("crl", "--ca", "root", "--ca-key", f"file:{safe}")
    assert "published CRL 2 of root" in out
    out = founded.said("revoke", "--reason", "cACompromise", _authority(founded))
    assert "warning: the CRL of root does not tell yet" in founded.err
    out = founded.said("crl", "--ca", "root", "--ca-key", f"file:{safe}", "-o",
                       founded.folder / "root.crl")  # fmt: skip
    assert "CRL 4" in out or "CRL 3" in out
    assert len(x509.load_der_x509_crl((founded.folder / "root.crl").read_bytes())) == 1


def _authority(shell: Shell) -> Path:
    return shell.folder / "data" / "certificates" / "issuing.pem"


def test_exports(founded: Shell) -> None:
    path = founded.said("export", "issuing")
    assert path.count("BEGIN CERTIFICATE") == 2
    assert founded.said("export", "--form", "pem", "issuing").count("BEGIN CERTIFICATE") == 1
    assert founded("export", "nobody") == 2
    assert "found neither a file nor a serial number" in founded.err


def test_a_folder_without_an_authority_is_told_with_a_hint(shell: Shell) -> None:
    assert shell("list") == 2
    assert "hint: signward ca init" in shell.err


def test_a_key_that_was_certified_is_kept_whatever_becomes_of_the_output(
    founded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from signward.cli import scan

    def full(*_: object, **__: object) -> None:
        raise EvidenceError("release.pem: No space left on device")

    monkeypatch.setattr(scan, "written_whole", full)
    key = founded.folder / "release.key"
    words = ("--profile", "code-signing", "--subject", "x", "--new-key", key)
    assert founded("issue", *words, "-o", founded.folder / "release.pem") == 2
    assert "No space left" in founded.err
    assert "hint: it was issued: signward ca export" in founded.err
    assert key.exists()


@pytest.mark.parametrize("where", ["none/release.pem", "."])
def test_nothing_is_issued_that_cannot_be_written(founded: Shell, where: str) -> None:
    before = founded.said("list", "--json")
    key, target = founded.folder / "release.key", founded.folder / where
    words = ("--profile", "code-signing", "--subject", "x", "--new-key", key, "-o", target)
    assert founded("issue", *words) == 2
    assert "required a place that can be written" in founded.err
    assert founded.said("list", "--json") == before
    assert not key.exists()
    assert founded("crl", "-o", target) == 2
    assert "published" not in founded.out


def test_a_certificate_does_not_take_the_place_of_its_key(founded: Shell) -> None:
    key = founded.folder / "release.key"
    words = ("--profile", "code-signing", "--subject", "x", "--new-key", key, "-o", key)
    assert founded("issue", *words) == 2
    assert "another file" in founded.err
    assert not key.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--expiring", "99999y"),
        ("issue", "--profile", "code-signing", "--subject", "x", "--new-key", "k", "--valid",
         "99999y"),
        ("revoke", "--reason", "superseded", "a" * 5000),
        ("export", "a" * 5000),
        ("renew", "a" * 5000),
        ("list", "--profile", "nonsense"),
        ("list", "--ca", "nonsense"),
        ("revoke", "--reason", "superseded", "--invalidity-date", "0001-01-01T00:00+14:00", "ab"),
        ("init", "--name", "x", "--url", "http://example.org:99999"),
        ("init", "--name", "x", "--country", "Sweden"),
    ],
)  # fmt: skip
def test_odd_words_are_told(
    founded: Shell, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(founded.folder)
    try:
        code: object = founded(*words)
    except SystemExit as error:  # what argparse refuses by itself
        code = error.code
    assert code == 2
    assert "Traceback" not in founded.err


def test_everything_that_is_wrong_with_an_order_is_told(founded: Shell) -> None:
    words = ("--profile", "code-signing", "--subject", "CN=x", "--valid", "500d", "--new-key",
             founded.folder / "k", "--san", "dns:example.org")  # fmt: skip
    assert founded("issue", *words) == 2
    for said in ("at most 460 days", "subject, O: found 0 of it", "alternative names"):
        assert said in founded.err


def test_json_tells_what_was_done(founded: Shell) -> None:
    target, key = founded.folder / "r.pem", founded.folder / "r.key"
    words = ("--profile", "code-signing", "--subject", "x", "--new-key", key, "-o", target)
    told = json.loads(founded.said("issue", *words, "--json"))
    assert target.read_text() == told["path"]
    planned = json.loads(founded.said("revoke", "--reason", "superseded", "--json", "--dry-run",
                                      target))  # fmt: skip
    assert planned == {"dry_run": True, "revoked": [{"serial": told["serial"], "ca": "issuing",
                       "subject": "CN=x,O=Example Ltd,C=SE"}]}  # fmt: skip
    done = json.loads(founded.said("revoke", "--reason", "superseded", "--json", target))
    assert done["revoked"][0]["serial"] == told["serial"]
    assert done["crl"] == [{"ca": "issuing", "number": 2}]
    assert done["feed"] == 1
    made = json.loads(founded.said("crl", "--json"))
    assert (made["ca"], made["number"]) == ("issuing", 3)
    assert made["next_update"] > made["this_update"]


def test_revoking_a_compromised_key_names_its_other_certificates(founded: Shell) -> None:
    target = issue(founded)
    again = json.loads(founded.said("renew", "--json", target))
    founded.said("revoke", "--reason", "keyCompromise", target)
    assert f"{again['serial']} has the same key and is not revoked" in founded.err


def test_renewing_our_own_says_that_the_service_must_know(founded: Shell) -> None:
    founded.said("renew", "tsa")
    assert "signward serve" in founded.err


def test_who_has_no_name_is_told_as_unknown(
    founded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    import getpass

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    issue(founded)
    assert '"local:unknown"' in founded.said("list", "--json")


def test_a_device_is_written_to_and_not_replaced(founded: Shell) -> None:
    link = founded.folder / "null"
    link.symlink_to("/dev/null")
    founded.said("export", "-o", link, "issuing")
    assert link.is_symlink()
    assert Path("/dev/null").is_char_device()
