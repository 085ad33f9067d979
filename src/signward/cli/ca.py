"""``signward ca ACTION``: an authority of one's own, from founding it to revoking."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signward.cli.actions import Action, add_actions, local_user, run_action
from signward.cli.ca_arguments import (
    add_crl,
    add_export,
    add_init,
    add_issue,
    add_list,
    add_renew,
    add_revoke,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from signward.authority.request import Request
    from signward.store.certificates import Listed
    from signward.store.published import Document
    from signward.trust.x509 import Certificate
    from signward.verbs.authority.init import Founded, Founding
    from signward.verbs.authority.issue import IssuedCertificate, Order
    from signward.verbs.authority.publish_crl import PublishedCrl
    from signward.verbs.authority.realm import Realm
    from signward.verbs.authority.revoke import Revoked
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``ca``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(ACTIONS, arguments)


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
    _check_output(arguments)
    with _opened(arguments, ca) as realm, _key_file(arguments) as (spki, request):
        wanted = _order(arguments, realm, ca, spki, request)
        if arguments.dry_run:
            _, permit = plan(realm, ca, wanted, realm.now())
            _tell_planned(arguments, permit.prepared.certificate,
                          (*wanted.notes, *permit.warnings))  # fmt: skip
            return 0
        made = issue(realm, ca, wanted, local_user())
    _tell_issued(arguments, made)
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
    """Give the key to certify, new or in a request; a new one goes again if that fails.

    So only what certifies it belongs into the block: a certified key must stay.
    """
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
    from signward.verbs.secrets import new_password

    if not arguments.encrypted:
        return None
    found = new_password(f"password of {arguments.new_key}", arguments.pass_file)
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
    _check_output(arguments)
    with _opened(arguments) as realm, _key_file(arguments) as (spki, _):
        found = find(realm, reference_of(realm, what), arguments.ca)
        _bring_key(realm, arguments, found.issued.issuer)
        if arguments.dry_run:
            _, permit = plan(
                realm, found.issued.issuer, renewal(found, spki, lifetime), realm.now()
            )
            _tell_planned(arguments, permit.prepared.certificate, permit.warnings)
            return 0
        made = renew(realm, what, local_user(), spki, lifetime)
        own = what in realm.settings.keys
    _tell_issued(arguments, made)
    if own:
        _warn((f"a running signward serve uses the old certificate of {what}: start it anew",))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority import feed
    from signward.verbs.authority.finding import find
    from signward.verbs.authority.publish_crl import try_to_publish
    from signward.verbs.authority.revoke import plan, revoke

    with _opened(arguments) as realm:
        found = [find(realm, name, arguments.ca) for name in arguments.certificates]
        when, who = arguments.invalidity_date, local_user()
        planned = [plan(realm, one, arguments.reason, when, who) for one in found]
        if arguments.dry_run:
            _tell_withdrawals(arguments, found)
            return 0
        done = []
        for one in found:
            done.append(revoke(realm, one, arguments.reason, who, invalidity=when, publish=False))
            if not arguments.json:  # each at once: another may fail
                _tell_revoked(done[-1])
        crls = []
        for ca in dict.fromkeys(one.issuer for one in planned):
            _bring_key(realm, arguments, ca)
            crls.append(try_to_publish(realm, ca))
        told_by_feed = feed.try_to_publish(realm)
    for serial in dict.fromkeys(one for each in done for one in each.same_key):
        if serial not in {each.listed.issued.serial for each in done}:
            _warn((f"{serial} has the same key and is not revoked",))
    _tell_published(arguments, done, crls, told_by_feed)
    return 0


def _tell_withdrawals(arguments: argparse.Namespace, found: Sequence[Listed]) -> None:
    """Tell what a dry run would revoke."""
    if arguments.json:
        lines = [_certificate_told(one) for one in found]
        _print_json({"dry_run": True, "revoked": lines})
        return
    for one in found:
        print(f"would revoke {one.issued.serial} {one.issued.subject}", file=sys.stderr)


def _certificate_told(listed: Listed) -> dict[str, object]:
    issued = listed.issued
    return {"serial": issued.serial, "ca": issued.issuer, "subject": issued.subject}


def _tell_revoked(done: Revoked) -> None:
    issued, verb = done.listed.issued, "made graver" if done.amended else "revoked"
    print(f"{verb} {issued.serial} {issued.subject}, log entry {done.position}")


def _tell_published(
    arguments: argparse.Namespace,
    done: Sequence[Revoked],
    crls: Sequence[PublishedCrl | str],
    told_by_feed: Document | str,
) -> None:
    """Tell which CRLs and which version of the feed tell of the revocations, or why none does."""
    if not arguments.json:
        for crl in crls:
            _tell_crl(crl)
        _tell_feed(told_by_feed)
        return
    problems = tuple(str(one) for one in (*crls, told_by_feed) if isinstance(one, str) and one)
    numbers = [{"ca": one.authority, "number": one.number} for one in crls
               if not isinstance(one, str)]  # fmt: skip
    lines = [{**_certificate_told(one.listed), "log_entry": one.position, "amended": one.amended}
             for one in done]  # fmt: skip
    version = None if isinstance(told_by_feed, str) else told_by_feed.version
    _print_json({"revoked": lines, "crl": numbers, "feed": version, "warnings": problems})


def _tell_crl(told: PublishedCrl | str) -> None:
    if isinstance(told, str):
        _warn((told,))
    else:
        print(f"published CRL {told.number} of {told.authority}, "
              f"good until {told.next_update:%Y-%m-%d %H:%M}Z")  # fmt: skip


def _tell_feed(told: Document | str) -> None:
    if not isinstance(told, str):
        print(f"published version {told.version} of the revocation feed")
    elif told:
        _warn((told,))


def _list(arguments: argparse.Namespace) -> int:
    from signward.authority.profiles import profile
    from signward.verbs.authority.authorities import settings_of
    from signward.verbs.authority.listing import listing

    with _opened(arguments) as realm:
        if arguments.ca:
            settings_of(realm, arguments.ca)
        if arguments.profile:
            profile(arguments.profile)
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

    _check_output(arguments)
    with _opened(arguments, arguments.ca) as realm:
        made = publish(realm, arguments.ca)
    if arguments.json:
        _print_json({"ca": made.authority, "number": made.number, "this_update": made.this_update,
                     "next_update": made.next_update})  # fmt: skip
    else:
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


def _check_output(arguments: argparse.Namespace) -> None:
    """Refuse an output that cannot be written, before anything is done that stays."""
    from pathlib import Path

    from signward.errors import RealmError
    from signward.verbs.authority.files import check_place

    if not arguments.output:
        return
    path = Path(arguments.output)
    check_place(path)
    new_key = getattr(arguments, "new_key", "")
    if new_key and path.absolute() == Path(new_key).absolute():
        raise RealmError("--output", "the file of the new key", "another file for its certificate",
                         hint="nothing was done")  # fmt: skip


def _tell_planned(
    arguments: argparse.Namespace, made: Certificate, warnings: tuple[str, ...]
) -> None:
    """Tell what a dry run would issue."""
    if arguments.json:
        _print_json({"dry_run": True, "subject": made.subject_text, "not_after": made.not_after,
                     "warnings": warnings})  # fmt: skip
        return
    until = f"until {made.not_after:%Y-%m-%d %H:%M}Z"
    print(f"would {arguments.action} {made.subject_text}, {until}", file=sys.stderr)
    _warn(warnings)


def _tell_issued(arguments: argparse.Namespace, made: IssuedCertificate) -> None:
    from signward.errors import EvidenceError
    from signward.verbs.authority.export import pem

    path = "".join(pem(one.der) for one in made.path).encode()
    _warn(made.warnings)
    if arguments.json:
        told = {"ca": made.authority, "serial": made.serial, "profile": made.profile,
                "subject": made.certificate.subject_text, "log_entry": made.position,
                "path": path.decode(), "warnings": made.warnings}  # fmt: skip
        _print_json(told)
        if not arguments.output:
            return
    else:
        print(f"issued {made.certificate.subject_text}, serial {made.serial}, until "
              f"{made.certificate.not_after:%Y-%m-%d %H:%M}Z, log entry {made.position}",
              file=sys.stderr)  # fmt: skip
    try:
        _put(arguments, path)
    except EvidenceError as error:
        hint = f"hint: it was issued: signward ca export -o FILE {made.serial}"
        raise EvidenceError(f"{error}\n{hint}") from None


def _put(arguments: argparse.Namespace, data: bytes) -> None:
    if not arguments.output:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    from signward.cli.scan import written_whole

    with written_whole(arguments.output) as out:
        out.write(data)


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
                   add_init, _init),
    "issue": Action("certify a key, new or from a request, under a profile", add_issue, _issue),
    "renew": Action("issue a certificate again, with new dates", add_renew, _renew),
    "revoke": Action("withdraw certificates for good, and publish the CRL", add_revoke, _revoke),
    "list": Action("tell what was issued, and what became of it", add_list, _list),
    "export": Action("write a certificate or CRL as a file", add_export, _export),
    "crl": Action("sign and publish an authority's next CRL", add_crl, _crl),
}  # fmt: skip
