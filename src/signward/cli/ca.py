"""``signward ca DEED``: an authority of one's own, from founding it to revoking."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signward.cli.arguments import instant

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from signward.authority.request import Request
    from signward.verbs.authority.init import Founded, Founding
    from signward.verbs.authority.issue import IssuedCertificate, Order
    from signward.verbs.authority.realm import Realm
    from signward.verbs.secrets import SecretFinder

DESCRIPTION = """\
Found a certification authority of your own, and run it.

  init    make its folder: a root to be kept offline, an issuing authority, keys
          and certificates for OCSP, timestamps, log and feed, the first CRLs
  issue   certify a key, new or from a request, under a profile
  renew   the same certificate with new dates: SERIAL, FILE or a key's name
  revoke  withdraw certificates for good: SERIAL or FILE
  list    what was issued, and what became of it
  export  a certificate or CRL as a file: SERIAL, FILE, an authority or a key
  crl     sign and publish an authority's next CRL

What is to be issued is checked against its profile, RFC 5280 and the rules of
the CA/Browser Forum first; --dry-run stops there.  Everything done is written
to the transparency log before the answer is given."""

EPILOG = """examples:
  signward ca init --name "Example Ltd" --country SE
  signward ca issue Release --profile code-signing --new-key release.key \
      -o release.pem
  signward ca issue --profile code-signing --request release.csr -o release.pem
  signward ca list --expiring 30d
  signward ca revoke release.pem --reason keyCompromise \
      --invalidity-date 2026-11-01
  signward ca export root --form der -o root.cer
  signward ca crl root --ca-key file:/media/safe/root.pem
keys on a token:
  signward ca init --name "Example Ltd" --key 'root=pkcs11:token=CA;object=root'

exit codes: 0 done, 2 command line, or it cannot be done as asked
"""

FORMS = ("path", "pem", "der")
"""`export.FORMS`, which a start need not import."""

_PROFILES = ("code-signing", "kernel-module", "ci-identity", "timestamping", "ocsp-responder",
             "sub-ca")  # fmt: skip
_REASONS = ("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
            "cessationOfOperation", "privilegeWithdrawn")  # fmt: skip
_KINDS = ("rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521", "ed25519",
          "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ca``."""
    parser.add_argument("deed", choices=tuple(_DEEDS), metavar="DEED",
                        help="init, issue, renew, revoke, list, export or crl")  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="WHAT", help="issue: the subject, a common "
                        "name or CN=…,O=…; the others: see above")  # fmt: skip
    where = parser.add_argument_group("where the authority is")
    where.add_argument("--data", metavar="DIR", default="", help="its data folder "
                       "(default: $SIGNWARD_DATA, else signward-data)")  # fmt: skip
    where.add_argument("--database", metavar="URL", default="",
                       help="its database, if that is not in the folder")  # fmt: skip
    where.add_argument("--ca", default="", metavar="NAME", help="which authority (default: "
                       "issuing; revoke and renew: whichever issued it)")  # fmt: skip
    where.add_argument("--ca-key", default="", metavar="URI", help="its key is here this time: "
                       "a root's, fetched for a ceremony")  # fmt: skip
    where.add_argument("--pass-file", default="", metavar="FILE",
                       help="the password or PIN is this file's first line")  # fmt: skip
    _add_init(parser.add_argument_group("init"))
    _add_issue(parser.add_argument_group("issue, renew"))
    _add_others(parser)
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FILE", default="", help="issue, renew, "
                        "export, crl: write it there (default: print it)")  # fmt: skip
    output.add_argument("--dry-run", action="store_true", help="init, issue, renew, revoke: check "
                        "everything, say what would be done, and do nothing")  # fmt: skip
    output.add_argument("--json", action="store_true", help="tell it as JSON")


def _add_init(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", default="", metavar="TEXT",
                       help="the organization, as certificates name it")  # fmt: skip
    group.add_argument("--country", default="", metavar="CC", help="its country, such as SE")
    group.add_argument("--url", default="http://127.0.0.1:8650", metavar="URL",
                       help="where verifiers will reach the service: it stands in every "
                       "certificate (default: http://127.0.0.1:8650)")  # fmt: skip
    group.add_argument("--key", action="append", default=[], metavar="NAME=URI",
                       help="use this key rather than make one; names: root, issuing, "
                       "issuing-ocsp, tsa, log, feed")  # fmt: skip
    group.add_argument("--encrypt", action="append", default=[], metavar="NAME",
                       help="encrypt this key's file with a password")  # fmt: skip
    group.add_argument("--root-algorithm", choices=_KINDS, default="p-384", metavar="KIND",
                       help="of the root's key, if it is made (default: p-384)")  # fmt: skip
    group.add_argument("--policies", default="", metavar="OID",
                       help="name certificate policies below this OID (default: one below 2.25, "
                       "of a new UUID)")  # fmt: skip


def _add_issue(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profile", choices=_PROFILES, default="", metavar="PROFILE",
                       help=f"what it is for: {', '.join(_PROFILES)}; list: only "
                       "those")  # fmt: skip
    group.add_argument("--request", default="", metavar="FILE",
                       help="certify the key in this PKCS#10 request")  # fmt: skip
    group.add_argument("--new-key", default="", metavar="FILE",
                       help="make a key, write it there and certify it")  # fmt: skip
    group.add_argument("--algorithm", choices=_KINDS, default="p-256", metavar="KIND",
                       help=f"of the key that is made (default: p-256): {', '.join(_KINDS)}; init: "
                       "of all keys but root, log and feed")  # fmt: skip
    group.add_argument("--encrypted", action="store_true", help="encrypt the key's file")
    group.add_argument("--san", action="append", default=[], metavar="KIND:NAME",
                       help="a further name: uri:https://…, email:…, dns:…, ip:… or "
                       "dir:CN=…")  # fmt: skip
    group.add_argument("--valid", default="", metavar="TIME",
                       help="how long: 10m, 24h, 90d, 8y (default: the profile's)")  # fmt: skip
    group.add_argument("--permit", action="append", default=[], metavar="KIND:NAME",
                       help="sub-ca: it may certify names below this one only")  # fmt: skip
    group.add_argument("--exclude", action="append", default=[], metavar="KIND:NAME",
                       help="sub-ca: it may not certify names below this one")  # fmt: skip


def _add_others(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("revoke")
    group.add_argument("--reason", choices=_REASONS, default="", metavar="REASON",
                       help=f"why: {', '.join(_REASONS)}")  # fmt: skip
    group.add_argument("--invalidity-date", type=instant, metavar="TIME",
                       help="refuse also what was signed and timestamped from then on "
                       "(default: from now on)")  # fmt: skip
    group = parser.add_argument_group("list, export")
    group.add_argument("--expiring", default="", metavar="TIME",
                       help="list: those that end within this time, such as 30d")  # fmt: skip
    group.add_argument("--revoked", action="store_true", help="list: revoked ones only")
    group.add_argument("--form", choices=FORMS, default="path", metavar="{path,pem,der}",
                       help="export: PEM up to the root, or the one certificate as PEM or DER "
                       "(default: path)")  # fmt: skip
    group.add_argument("--crl", action="store_true",
                       help="export: the authority's CRL instead")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Do the deed; return 0 when it is done."""
    _DEEDS[arguments.deed](arguments)
    return 0


# --- deeds --------------------------------------------------------------------------------------


def _init(arguments: argparse.Namespace) -> None:
    from signward.errors import AuthorityError
    from signward.verbs.authority.init import check, found

    if not arguments.name:
        raise AuthorityError("--name", "nothing", "the organization's name")
    folder, secrets = _folder(arguments), _secrets(arguments)
    wanted = _founding(arguments)
    if arguments.dry_run:
        for name, kind in check(folder, wanted, secrets).items():
            place = wanted.keys.get(name) or f"to be made in {folder}/keys"
            print(f"key {name:<14} {kind:<10} {place}")
        print("nothing was made (--dry-run)", file=sys.stderr)
        return
    _tell_founded(arguments, found(folder, wanted, secrets, database=arguments.database))


def _founding(arguments: argparse.Namespace) -> Founding:
    from signward.errors import AuthorityError
    from signward.verbs.authority.init import Founding

    keys = {}
    for given in arguments.key:
        name, equals, uri = given.partition("=")
        if not equals or not uri:
            raise AuthorityError("--key", repr(name[:40]), "NAME=URI, as in root=pkcs11:…")
        keys[name] = uri
    return Founding(
        name=arguments.name,
        url=arguments.url,
        country=arguments.country,
        root_kind=arguments.root_algorithm,
        kind=arguments.algorithm,
        keys=keys,
        encrypted=tuple(arguments.encrypt),
        policies=arguments.policies,
    )


def _tell_founded(arguments: argparse.Namespace, made: Founded) -> None:
    if arguments.json:
        lines = {name: made.settings.keys[name].uri for name in made.kinds}
        _print_json({"data": made.folder, "keys": lines, "warnings": made.warnings})
        return
    print(f"made authority {made.settings.name} in {made.folder}\n")
    for name, kind in made.kinds.items():
        certificate = made.certificates.get(name)
        told = (f"{certificate.subject_text}, until {certificate.not_after:%Y-%m-%d}"
                if certificate else "signs without a certificate")  # fmt: skip
        print(f"  {name:<14} {kind:<10} {told}")
    print(f"\n  CRLs of root (good for {made.settings.ca['root'].crl_days} days) and issuing")
    _warn(made.warnings)
    data = f" --data {arguments.data}" if arguments.data else ""
    print(_NEXT.format(folder=made.folder, data=data))


_NEXT = """
next:
  1. give verifiers the root:    signward ca export root{data} --form pem -o root.pem
  2. certify a signing key:      signward ca issue Release{data} \\
                                   --profile code-signing --new-key release.key \\
                                   -o release.pem
  3. answer verifiers:           signward serve{data}
  4. take the root offline:      move {folder}/keys/root.pem to a medium in a safe;
                                 bring it with --ca-key file:… when you need it
"""


def _issue(arguments: argparse.Namespace) -> None:
    from signward.errors import AuthorityError

    if not arguments.profile:
        raise AuthorityError("--profile", "none", f"one of {', '.join(_PROFILES)}")
    if len(arguments.words) > 1:
        raise AuthorityError("issue", f"{len(arguments.words)} subjects", "one, in quotes")
    from signward.verbs.authority.issue import issue, plan

    ca = arguments.ca or "issuing"
    with _opened(arguments, ca) as realm, _key_file(arguments) as (spki, request):
        wanted = _order(arguments, realm, ca, spki, request)
        if arguments.dry_run:
            _, permit = plan(realm, ca, wanted, realm.now())
            made = permit.prepared.certificate
            until = f"until {made.not_after:%Y-%m-%d %H:%M}Z"
            print(f"would issue {made.subject_text}, {until}", file=sys.stderr)
            _warn((*wanted.notes, *permit.warnings))
            return
        _tell_issued(arguments, issue(realm, ca, wanted, _who()))


def _order(
    arguments: argparse.Namespace, realm: Realm, ca: str, spki: bytes, request: Request | None
) -> Order:
    from signward.errors import AuthorityError
    from signward.verbs.authority.issue import order

    if not spki:
        raise AuthorityError("issue", "no key", "--request FILE, or --new-key FILE")
    return order(
        realm,
        ca,
        arguments.profile,
        spki,
        subject=" ".join(arguments.words),
        alternative=tuple(arguments.san),
        request=request,
        lifetime=_lifetime(arguments.valid),
        permitted=tuple(arguments.permit),
        excluded=tuple(arguments.exclude),
    )


@contextmanager
def _key_file(arguments: argparse.Namespace) -> Iterator[tuple[bytes, Request | None]]:
    """Give the key to certify, new or in a request; a new one goes again if that fails."""
    from pathlib import Path

    from signward.authority.request import read_request
    from signward.errors import AuthorityError
    from signward.keys._generate import generate

    if arguments.request and arguments.new_key:
        raise AuthorityError("issue", "--request and --new-key", "one of them")
    if arguments.request:
        request = read_request(_read(Path(arguments.request)))
        yield request.spki, request
    elif arguments.new_key:
        path, password = Path(arguments.new_key), _password(arguments)
        spki = generate(arguments.algorithm, path, password)
        done = False
        try:
            yield spki, None
            done = not arguments.dry_run
        finally:
            if not done:
                path.unlink()
    else:
        yield b"", None


def _password(arguments: argparse.Namespace) -> str | None:
    from signward.errors import AuthorityError

    if not arguments.encrypted:
        return None
    found = _secrets(arguments)(f"password of {arguments.new_key}")
    if not found:
        raise AuthorityError("--encrypted", "no password", "one",
                             hint="--pass-file FILE, or SIGNWARD_PASSWORD")  # fmt: skip
    return found


def _read(path: Path) -> bytes:
    from signward.authority.request import MAX_REQUEST_OCTETS
    from signward.errors import AuthorityError

    try:
        with path.open("rb") as file:
            return file.read(MAX_REQUEST_OCTETS + 1)
    except OSError as error:
        raise AuthorityError(str(path), error.strerror or "no file", "a request") from None


def _renew(arguments: argparse.Namespace) -> None:
    from signward.verbs.authority.finding import find
    from signward.verbs.authority.issue import plan
    from signward.verbs.authority.renew import reference_of, renew, renewal

    (what,) = _words(arguments, "one certificate")
    lifetime = _lifetime(arguments.valid)
    with _opened(arguments) as realm, _key_file(arguments) as (spki, _):
        found = find(realm, reference_of(realm, what), arguments.ca)
        _bring_key(realm, arguments, found.issued.issuer)
        if arguments.dry_run:
            _, permit = plan(
                realm, found.issued.issuer, renewal(found, spki, lifetime), realm.now()
            )
            print(f"would renew {found.issued.subject}", file=sys.stderr)
            _warn(permit.warnings)
            return
        _tell_issued(arguments, renew(realm, what, _who(), spki, lifetime))


def _revoke(arguments: argparse.Namespace) -> None:
    from signward.errors import AuthorityError
    from signward.verbs.authority.finding import find
    from signward.verbs.authority.publish_crl import try_to_publish
    from signward.verbs.authority.revoke import plan, revoke

    if not arguments.reason:
        raise AuthorityError("--reason", "none", f"one of {', '.join(_REASONS)}")
    names = _words(arguments)
    with _opened(arguments) as realm:
        found = [find(realm, name, arguments.ca) for name in names]
        when = arguments.invalidity_date
        planned = [plan(realm, one, arguments.reason, when, _who()) for one in found]
        if arguments.dry_run:
            for one in found:
                print(f"would revoke {one.issued.serial} {one.issued.subject}", file=sys.stderr)
            return
        for one in found:
            done = revoke(realm, one, arguments.reason, _who(), invalidity=when, publish=False)
            verb = "made graver" if done.amended else "revoked"
            print(f"{verb} {one.issued.serial} {one.issued.subject}, log entry {done.position}")
        for ca in dict.fromkeys(one.issuer for one in planned):
            _bring_key(realm, arguments, ca)
            _tell_crl(try_to_publish(realm, ca))


def _tell_crl(told: object) -> None:
    from signward.verbs.authority.publish_crl import PublishedCrl

    if isinstance(told, PublishedCrl):
        print(f"published CRL {told.number} of {told.authority}, "
              f"good until {told.next_update:%Y-%m-%d %H:%M}Z")  # fmt: skip
    else:
        _warn((str(told),))


def _list(arguments: argparse.Namespace) -> None:
    from signward.verbs.authority.listing import listing

    with _opened(arguments) as realm:
        found = listing(
            realm,
            ca=arguments.ca,
            profile=arguments.profile,
            expiring=_lifetime(arguments.expiring),
            only_revoked=arguments.revoked,
        )
    if arguments.json:
        _print_json(found)
        return
    from signward.report.display import visible

    print(f"{'SERIAL':<40} {'CA':<8} {'STATUS':<8} {'UNTIL':<10} {'PROFILE':<14} SUBJECT")
    for one in found:
        why = f" ({one.reason}, {one.revoked_at[:10]})" if one.revoked_at else ""
        print(f"{one.serial:<40} {one.ca:<8} {one.status:<8} {one.not_after[:10]} "
              f"{one.profile:<14} {visible(one.subject)}{why}")  # fmt: skip


def _export(arguments: argparse.Namespace) -> None:
    from signward.verbs.authority.export import export, export_crl

    (what,) = _words(arguments, "one thing to export")
    with _opened(arguments) as realm:
        if arguments.crl:
            data = export_crl(realm, what, arguments.form)
        else:
            data = export(realm, what, arguments.form)
    _put(arguments, data)


def _crl(arguments: argparse.Namespace) -> None:
    from signward.verbs.authority.publish_crl import publish

    (ca,) = arguments.words or [arguments.ca or "issuing"]
    with _opened(arguments, ca) as realm:
        made = publish(realm, ca)
        _tell_crl(made)
    if arguments.output:
        _put(arguments, made.der)


# --- what they share ----------------------------------------------------------------------------


def _words(arguments: argparse.Namespace, required: str = "certificates") -> list[str]:
    from signward.errors import AuthorityError

    words: list[str] = arguments.words
    if not words or (required.startswith("one ") and len(words) > 1):
        raise AuthorityError(arguments.deed, f"{len(words)} of them", required)
    return words


def _folder(arguments: argparse.Namespace) -> Path:
    from pathlib import Path

    from signward.verbs.authority.realm import default_folder

    return Path(arguments.data) if arguments.data else default_folder()


def _secrets(arguments: argparse.Namespace) -> SecretFinder:
    from signward.verbs.secrets import SecretFinder

    return SecretFinder(arguments.pass_file)


@contextmanager
def _opened(arguments: argparse.Namespace, ca: str = "") -> Iterator[Realm]:
    from signward.verbs.authority.realm import Realm

    realm = Realm.open(_folder(arguments), database=arguments.database, secrets=_secrets(arguments))
    try:
        if ca:
            _bring_key(realm, arguments, ca)
        yield realm
    finally:
        realm.close()


def _bring_key(realm: Realm, arguments: argparse.Namespace, ca: str) -> None:
    from signward.verbs.authority.authorities import key_elsewhere

    if arguments.ca_key:
        key_elsewhere(realm, ca, arguments.ca_key)


def _lifetime(text: str) -> timedelta | None:
    from signward.authority.profiles import duration

    return duration(text) if text else None


def _who() -> str:
    """Return the user, as the log names who asked."""
    import getpass

    return getpass.getuser()


def _tell_issued(arguments: argparse.Namespace, made: IssuedCertificate) -> None:
    from signward.verbs.authority.export import pem

    path = "".join(pem(one.der) for one in made.path).encode()
    _warn(made.warnings)
    if arguments.json:
        told = {"ca": made.authority, "serial": made.serial, "profile": made.profile,
                "subject": made.certificate.subject_text, "log_entry": made.position,
                "path": path.decode(), "warnings": made.warnings}  # fmt: skip
        _print_json(told)
        return
    print(f"issued {made.certificate.subject_text}, serial {made.serial}, until "
          f"{made.certificate.not_after:%Y-%m-%d %H:%M}Z, log entry {made.position}",
          file=sys.stderr)  # fmt: skip
    _put(arguments, path)


def _put(arguments: argparse.Namespace, data: bytes) -> None:
    if not arguments.output:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    from pathlib import Path

    from signward.verbs.authority.files import write

    write(Path(arguments.output), data)


def _warn(warnings: tuple[str, ...]) -> None:
    from signward.report.display import visible

    for warning in warnings:
        print(f"warning: {visible(warning)}", file=sys.stderr)


def _print_json(told: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")


_DEEDS = {
    "init": _init,
    "issue": _issue,
    "renew": _renew,
    "revoke": _revoke,
    "list": _list,
    "export": _export,
    "crl": _crl,
}
