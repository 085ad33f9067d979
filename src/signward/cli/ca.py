"""``signward ca ACTION``: an authority of one's own, from founding it to revoking."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signward.cli.actions import Action, add_actions, add_data, run_action
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

What is to be issued is checked against its profile, RFC 5280 and the rules of
the CA/Browser Forum before it is signed; --dry-run stops there.  Everything
done is in the transparency log before the answer is given."""

EPILOG = """examples:
  signward ca init --name "Example Ltd" --country SE
  signward ca issue --profile code-signing --subject Release --new-key r.key
  signward ca issue --profile code-signing --request release.csr -o release.pem
  signward ca list --expiring 30d
  signward ca revoke --reason keyCompromise release.pem
  signward ca export --form der -o root.cer root
a root that is kept offline, and keys on a token:
  signward ca crl --ca root --ca-key file:/media/safe/root.pem
  signward ca init --name "Example Ltd" --key 'root=pkcs11:token=CA;object=root'

exit codes: 0 done, 2 command line, or it cannot be done as asked
"""

PROFILES = ("code-signing", "kernel-module", "ci-identity", "timestamping", "ocsp-responder",
            "sub-ca")  # fmt: skip
REASONS = ("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
           "cessationOfOperation", "privilegeWithdrawn")  # fmt: skip
KINDS = ("rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521", "ed25519",
         "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")  # fmt: skip
FORMS = ("path", "pem", "der")
"""Words that the verbs' own tables hold too, which a start need not import."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``ca``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(ACTIONS, arguments)


# --- arguments ----------------------------------------------------------------------------------


def _add_init(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--name", required=True, metavar="TEXT",
                        help="the organization, as certificates name it")  # fmt: skip
    parser.add_argument("--country", default="", metavar="CC", help="its country, such as SE")
    parser.add_argument("--url", default="http://127.0.0.1:8650", metavar="URL",
                        help="where verifiers will reach the service: it stands in every "
                        "certificate (default: http://127.0.0.1:8650)")  # fmt: skip
    parser.add_argument("--key", action="append", default=[], metavar="NAME=URI",
                        help="use this key rather than make one; names: root, issuing, "
                        "issuing-ocsp, tsa, log, feed")  # fmt: skip
    parser.add_argument("--encrypt", action="append", default=[], metavar="NAME",
                        help="encrypt the file of this key, with the password")  # fmt: skip
    parser.add_argument("--root-algorithm", choices=KINDS, default="p-384", metavar="KIND",
                        help="of the root's key, if it is made (default: p-384)")  # fmt: skip
    _add_algorithm(parser, "of the other keys but log and feed")
    parser.add_argument("--policies", default="", metavar="OID",
                        help="name certificate policies below this OID (default: one below "
                        "2.25, of a new UUID)")  # fmt: skip
    _add_password(parser)
    _add_dry_run(parser)
    _add_json(parser)


def _add_issue(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--profile", choices=PROFILES, required=True, metavar="PROFILE",
                        help=f"what it is for: {', '.join(PROFILES)}")  # fmt: skip
    parser.add_argument("--subject", default="", metavar="NAME",
                        help="a common name (organization and country are the authority's), or "
                        "CN=...,O=... (default: the request's)")  # fmt: skip
    parser.add_argument("--san", action="append", default=[], metavar="KIND:NAME",
                        help="a further name: uri:https://..., email:..., dns:..., ip:... or "
                        "dir:CN=... (default: the request's)")  # fmt: skip
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--request", default="", metavar="FILE",
                     help="certify the key in this PKCS#10 request")  # fmt: skip
    _add_new_key(parser, key)
    parser.add_argument("--permit", action="append", default=[], metavar="KIND:NAME",
                        help="sub-ca: it may certify names below this one only")  # fmt: skip
    parser.add_argument("--exclude", action="append", default=[], metavar="KIND:NAME",
                        help="sub-ca: it may not certify names below this one")  # fmt: skip
    parser.add_argument("--ca", default="issuing", metavar="NAME",
                        help="the authority that issues it (default: issuing)")  # fmt: skip
    _add_issuing(parser)


def _add_renew(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("certificate", metavar="WHICH", help="its serial number or file; or the "
                        "name of a key of ours, such as tsa")  # fmt: skip
    parser.add_argument("--ca", default="", metavar="NAME", help="the authority that issued it, "
                        "where two have such a serial number")  # fmt: skip
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--request", default="", metavar="FILE", help="for the key in this PKCS#10 "
                     "request (default: for the key it has)")  # fmt: skip
    _add_new_key(parser, key)
    _add_issuing(parser)


def _add_new_key(parser: argparse.ArgumentParser, group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("--new-key", default="", metavar="FILE",
                       help="make a key, write it there and certify it")  # fmt: skip
    _add_algorithm(parser, "of the key that is made")
    parser.add_argument("--encrypted", action="store_true",
                        help="encrypt the file of the key that is made")  # fmt: skip


def _add_algorithm(parser: argparse.ArgumentParser, which: str) -> None:
    parser.add_argument("--algorithm", choices=KINDS, default="p-256", metavar="KIND",
                        help=f"{which} (default: p-256): {', '.join(KINDS)}")  # fmt: skip


def _add_issuing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--valid", default="", metavar="TIME",
                        help="how long: 10m, 24h, 90d, 8y (default: the profile's)")  # fmt: skip
    _add_ca_key(parser)
    _add_password(parser)
    _add_output(parser)
    _add_dry_run(parser)
    _add_json(parser)


def _add_revoke(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("certificates", nargs="+", metavar="WHICH",
                        help="serial numbers or files of certificates")  # fmt: skip
    parser.add_argument("--reason", choices=REASONS, required=True, metavar="REASON",
                        help=f"why: {', '.join(REASONS)}")  # fmt: skip
    parser.add_argument("--invalidity-date", type=instant, metavar="TIME",
                        help="refuse also what was signed and timestamped from then on "
                        "(default: from now on)")  # fmt: skip
    parser.add_argument("--ca", default="", metavar="NAME", help="the authority that issued them, "
                        "where two have such a serial number")  # fmt: skip
    _add_ca_key(parser)
    _add_password(parser)
    _add_dry_run(parser)


def _add_list(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--ca", default="", metavar="NAME", help="of this authority only")
    parser.add_argument("--profile", default="", metavar="PROFILE", help="of this profile only")
    parser.add_argument("--expiring", default="", metavar="TIME",
                        help="those that end within this time, such as 30d")  # fmt: skip
    parser.add_argument("--revoked", action="store_true", help="revoked ones only")
    _add_json(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("certificate", metavar="WHICH", help="a serial number or file, an "
                        "authority (root, issuing) or a key of ours (tsa)")  # fmt: skip
    parser.add_argument("--form", choices=FORMS, default="path", metavar="{path,pem,der}",
                        help="PEM up to the root, or the one certificate as PEM or DER "
                        "(default: path)")  # fmt: skip
    parser.add_argument("--crl", action="store_true", help="the authority's CRL instead")
    _add_output(parser)


def _add_crl(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--ca", default="issuing", metavar="NAME",
                        help="whose (default: issuing)")  # fmt: skip
    _add_ca_key(parser)
    _add_password(parser)
    parser.add_argument("-o", "--output", metavar="FILE", default="",
                        help="write it there too, in DER")  # fmt: skip


def _add_ca_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ca-key", default="", metavar="URI", help="the authority's key is here "
                        "this time: a root's, fetched from its safe")  # fmt: skip


def _add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the password or PIN is this file's first line")  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", default="",
                        help="write it there (default: print it)")  # fmt: skip


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true",
                        help="check everything, tell what would be done, do nothing")  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="tell it as JSON")


# --- actions ------------------------------------------------------------------------------------


def _init(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority.init import check, found

    folder, secrets = _folder(arguments), _secrets(arguments)
    wanted = _founding(arguments)
    if arguments.dry_run:
        for name, kind in check(folder, wanted, secrets).items():
            place = wanted.keys.get(name) or f"to be made in {folder}/keys"
            print(f"key {name:<14} {kind:<10} {place}")
        print("nothing was made (--dry-run)", file=sys.stderr)
        return 0
    _tell_founded(arguments, found(folder, wanted, secrets, database=arguments.database))
    return 0


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
  1. give verifiers the root:    signward ca export{data} --form pem -o root.pem root
  2. certify a signing key:      signward ca issue{data} --profile code-signing \\
                                   --subject Release --new-key release.key -o release.pem
  3. answer verifiers:           signward serve{data}
  4. take the root offline:      move {folder}/keys/root.pem to a medium in a safe;
                                 bring it with --ca-key file:… when you need it
"""


def _issue(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority.issue import issue, plan

    ca = arguments.ca
    with _opened(arguments, ca) as realm, _key_file(arguments) as (spki, request):
        wanted = _order(arguments, realm, ca, spki, request)
        if arguments.dry_run:
            _, permit = plan(realm, ca, wanted, realm.now())
            made = permit.prepared.certificate
            until = f"until {made.not_after:%Y-%m-%d %H:%M}Z"
            print(f"would issue {made.subject_text}, {until}", file=sys.stderr)
            _warn((*wanted.notes, *permit.warnings))
            return 0
        _tell_issued(arguments, issue(realm, ca, wanted, _who()))
    return 0


def _order(
    arguments: argparse.Namespace, realm: Realm, ca: str, spki: bytes, request: Request | None
) -> Order:
    from signward.verbs.authority.issue import order

    return order(
        realm,
        ca,
        arguments.profile,
        spki,
        subject=arguments.subject,
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
    from signward.keys._generate import generate

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


def _renew(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority.finding import find
    from signward.verbs.authority.issue import plan
    from signward.verbs.authority.renew import reference_of, renew, renewal

    what = arguments.certificate
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
            return 0
        _tell_issued(arguments, renew(realm, what, _who(), spki, lifetime))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority import feed
    from signward.verbs.authority.finding import find
    from signward.verbs.authority.publish_crl import try_to_publish
    from signward.verbs.authority.revoke import plan, revoke

    with _opened(arguments) as realm:
        found = [find(realm, name, arguments.ca) for name in arguments.certificates]
        when = arguments.invalidity_date
        planned = [plan(realm, one, arguments.reason, when, _who()) for one in found]
        if arguments.dry_run:
            for one in found:
                print(f"would revoke {one.issued.serial} {one.issued.subject}", file=sys.stderr)
            return 0
        for one in found:
            done = revoke(realm, one, arguments.reason, _who(), invalidity=when, publish=False)
            verb = "made graver" if done.amended else "revoked"
            print(f"{verb} {one.issued.serial} {one.issued.subject}, log entry {done.position}")
        for ca in dict.fromkeys(one.issuer for one in planned):
            _bring_key(realm, arguments, ca)
            _tell_crl(try_to_publish(realm, ca))
        _tell_feed(feed.try_to_publish(realm))
    return 0


def _tell_crl(told: object) -> None:
    from signward.verbs.authority.publish_crl import PublishedCrl

    if isinstance(told, PublishedCrl):
        print(f"published CRL {told.number} of {told.authority}, "
              f"good until {told.next_update:%Y-%m-%d %H:%M}Z")  # fmt: skip
    else:
        _warn((str(told),))


def _tell_feed(told: object) -> None:
    from signward.store.published import Document

    if isinstance(told, Document):
        print(f"published version {told.version} of the revocation feed")
    elif told:
        _warn((str(told),))


def _list(arguments: argparse.Namespace) -> int:
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
        return 0
    from signward.report.display import visible

    print(f"{'SERIAL':<40} {'CA':<8} {'STATUS':<8} {'UNTIL':<10} {'PROFILE':<14} SUBJECT")
    for one in found:
        why = f" ({one.reason}, {one.revoked_at[:10]})" if one.revoked_at else ""
        print(f"{one.serial:<40} {one.ca:<8} {one.status:<8} {one.not_after[:10]} "
              f"{one.profile:<14} {visible(one.subject)}{why}")  # fmt: skip
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority.export import export, export_crl

    what = arguments.certificate
    with _opened(arguments) as realm:
        if arguments.crl:
            data = export_crl(realm, what, arguments.form)
        else:
            data = export(realm, what, arguments.form)
    _put(arguments, data)
    return 0


def _crl(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority.publish_crl import publish

    with _opened(arguments, arguments.ca) as realm:
        made = publish(realm, arguments.ca)
        _tell_crl(made)
    if arguments.output:
        _put(arguments, made.der)
    return 0


# --- what they share ----------------------------------------------------------------------------


def _folder(arguments: argparse.Namespace) -> Path:
    from pathlib import Path

    from signward.verbs.authority.realm import default_folder

    return Path(arguments.data) if arguments.data else default_folder()


def _secrets(arguments: argparse.Namespace) -> SecretFinder:
    from signward.verbs.secrets import SecretFinder

    return SecretFinder(getattr(arguments, "pass_file", ""))  # list and export open no key


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

    from signward.verbs.authority.files import replace_file

    replace_file(Path(arguments.output), data)


def _warn(warnings: tuple[str, ...]) -> None:
    from signward.report.display import visible

    for warning in warnings:
        print(f"warning: {visible(warning)}", file=sys.stderr)


def _print_json(told: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")


ACTIONS = {
    "init": Action("make the folder of a new authority: keys, an offline root, an issuing "
                   "authority, certificates for OCSP and timestamps, the first CRLs",
                   _add_init, _init),
    "issue": Action("certify a key, new or from a request, under a profile", _add_issue, _issue),
    "renew": Action("issue a certificate again, with new dates", _add_renew, _renew),
    "revoke": Action("withdraw certificates for good, and publish the CRL", _add_revoke, _revoke),
    "list": Action("tell what was issued, and what became of it", _add_list, _list),
    "export": Action("write a certificate or CRL as a file", _add_export, _export),
    "crl": Action("sign and publish an authority's next CRL", _add_crl, _crl),
}  # fmt: skip
