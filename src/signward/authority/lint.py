"""What is to be issued, read as a verifier reads it, before anybody signs it.

Rules of RFC 5280, and those of the CA/Browser Forum's Code Signing Baseline Requirements (CSBR)
that can be told from a certificate.  Grave faults stop the issuance.  Where a private authority
may well do otherwise than a public one must, the fault is only told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from signward.authority.certificate import Issuer, Permit, Prepared, key_identifier, key_usage
from signward.authority.faults import Fault, refuse_grave
from signward.authority.names import KINDS, SHORT_NAMES
from signward.authority.subject_keys import check_key, kind_of
from signward.findings import Effect
from signward.trust import x509
from signward.trust.constraints import check_names
from signward.trust.names import ORGANIZATION, attribute_values
from signward.trust.ocsp import NO_CHECK
from signward.trust.rules import (
    ANY_EKU,
    EKU_CODE_SIGNING,
    EKU_OCSP_SIGNING,
    EKU_TIME_STAMPING,
)
from signward.wire import der

EKU_SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
LEAST_SERIAL_BITS = 64
"""CSBR 7.1: at least 64 bits from a random generator; a shorter number had fewer."""

_CRITICAL = {x509.BASIC_CONSTRAINTS, x509.KEY_USAGE, x509.NAME_CONSTRAINTS}
"""Extensions that must be critical wherever they stand here."""

Rule = Callable[[Prepared], Iterator[Fault]]


def approve(prepared: Prepared) -> Permit:
    """Return the permit to have a certificate signed.  Raises ``LintError``."""
    return Permit(prepared, refuse_grave(faults(prepared)))


def faults(prepared: Prepared) -> list[Fault]:
    """Return every rule that a prepared certificate breaks."""
    rules = [*ALWAYS, *(SETS[name] for name in prepared.profile.rules)]
    return [fault for rule in rules for fault in rule(prepared)]


# --- rules for every certificate ----------------------------------------------------------------


def _structure(prepared: Prepared) -> Iterator[Fault]:
    """Take over what our own reader, as strict as verifiers are, objects to."""
    for problem in prepared.certificate.problems:
        yield Fault(
            subject=problem.subject, found=problem.found, required=problem.required,
            clause=problem.clause, grave=problem.effect is not Effect.NOTE,
        )  # fmt: skip


def _serial(prepared: Prepared) -> Iterator[Fault]:
    bits = prepared.certificate.serial.bit_length()
    if prepared.certificate.serial <= 0 or bits < LEAST_SERIAL_BITS:
        yield _fault("serial number", f"{bits} bits", "a positive random number", "CSBR 7.1")


def _validity(prepared: Prepared) -> Iterator[Fault]:
    made, longest = prepared.certificate, prepared.profile.longest
    period = made.not_after - made.not_before + timedelta(seconds=1)
    if made.not_after <= made.not_before:
        yield _fault("validity", "an end before the beginning", "a period", "RFC 5280 4.1.2.5")
    elif period > longest:
        most = f"at most {longest}, as profile {prepared.profile.name} says"
        yield _fault("validity", str(period), most, "CSBR 6.3.2")
    if prepared.issuer is None:
        return
    outer = prepared.issuer.certificate
    if made.not_before < outer.not_before or made.not_after > outer.not_after:
        found = f"{made.not_before:%Y-%m-%d} to {made.not_after:%Y-%m-%d}"
        within = f"within its issuer's, which ends on {outer.not_after:%Y-%m-%d}"
        yield _fault("validity", found, within, "RFC 5280 6.1.3")


def _subject(prepared: Prepared) -> Iterator[Fault]:
    present = subject_attributes(prepared.certificate.subject)
    for short in prepared.profile.subject:
        if present.count(short) != 1:
            yield _fault(f"subject, {short}", f"{present.count(short)} of it", "one", "CSBR 7.1.4")
    if "" in present:
        yield _fault("subject", "an attribute of an unknown type", "known ones", "CSBR 7.1.4")


def _organization(prepared: Prepared) -> Iterator[Fault]:
    """Tell where somebody else's organization is to be certified: publishers are known by it."""
    if prepared.issuer is None:
        return
    own = attribute_values(prepared.issuer.certificate.subject, ORGANIZATION)
    found = attribute_values(prepared.certificate.subject, ORGANIZATION)
    if own and found and found != own:
        yield _fault("subject, O", repr(found[-1]), f"{own[-1]!r}, the authority's", "CSBR 3.2.2",
                     grave=False)  # fmt: skip


def _key(prepared: Prepared) -> Iterator[Fault]:
    yield from check_key(prepared.application.spki, prepared.profile.keys)
    issuer = prepared.issuer
    if issuer is not None and issuer.certificate.spki == prepared.application.spki:
        yield _fault("public key", "the issuer's own", "another", "CSBR 6.1.1")


def _extensions(prepared: Prepared) -> Iterator[Fault]:
    """Hold what was written against what the profile wants."""
    made, profile = prepared.certificate, prepared.profile
    if made.extensions[x509.KEY_USAGE][1] != key_usage(profile.key_usage):
        yield _fault("key usage", "another", ", ".join(profile.key_usage), "RFC 5280 4.2.1.3")
    if (made.ekus or frozenset()) != frozenset(profile.ekus) or ANY_EKU in profile.ekus:
        yield _fault("extended key usage", "others", ", ".join(profile.ekus), "CSBR 7.1.2.3")
    if made.is_ca is not profile.ca or made.path_length != profile.path_length:
        yield _fault("basic constraints", "others", "the profile's", "RFC 5280 4.2.1.9")
    if made.key_identifier != key_identifier(made.spki):
        yield _fault("subject key identifier", "another", "the key's", "RFC 5280 4.2.1.2")
    for oid, (critical, _) in made.extensions.items():
        if oid in _CRITICAL and not critical:
            yield _fault(f"extension {oid}", "not critical", "critical", "RFC 5280 4.2.1")


def _alternative_names(prepared: Prepared) -> Iterator[Fault]:
    names, profile = prepared.application.names, prepared.profile
    tags = {KINDS[kind] for kind in profile.names}
    if any(name[0] not in tags for name in names):
        allowed = ", ".join(profile.names) or "none"
        yield _fault("alternative names", "one of another kind", f"kinds: {allowed}",
                     "RFC 5280 4.2.1.6")  # fmt: skip
    if profile.names_required and not names:
        wanted = f"at least one ({', '.join(profile.names)})"
        yield _fault("alternative names", "none", wanted, "RFC 5280 4.2.1.6")
    limited = prepared.application.permitted or prepared.application.excluded
    if limited and not profile.constraints:
        yield _fault("name constraints", "some", f"none in profile {profile.name}",
                     "RFC 5280 4.2.1.10")  # fmt: skip


def _issuer(prepared: Prepared) -> Iterator[Fault]:
    """Ask whether the issuer may issue this at all."""
    made, issuer = prepared.certificate, prepared.issuer
    if issuer is None:
        return
    above = issuer.certificate
    if not above.is_ca or "keyCertSign" not in (above.key_usage or ()):
        yield _fault(above.label, "no authority", "a CA that may sign certificates",
                     "RFC 5280 4.2.1.9")  # fmt: skip
    if made.is_ca and above.path_length == 0:
        yield _fault(above.label, "path length 0", "room for an authority below it",
                     "RFC 5280 4.2.1.9")  # fmt: skip
    if made.authority_key_identifier != above.key_identifier:
        yield _fault("authority key identifier", "another", "the issuer's", "RFC 5280 4.2.1.1")
    yield from _usage_below(prepared, issuer)
    for finding in check_names((made, above)):
        yield _fault(finding.subject, finding.found, finding.required, finding.clause)


def _usage_below(prepared: Prepared, issuer: Issuer) -> Iterator[Fault]:
    """Ask that an issuer limited to some uses allows these; OCSP is every authority's own."""
    allowed = issuer.certificate.ekus
    if allowed is None:
        return
    beyond = sorted((prepared.certificate.ekus or frozenset()) - allowed - {EKU_OCSP_SIGNING})
    if beyond or prepared.certificate.ekus is None:
        found = ", ".join(beyond) or "any use"
        listed = f"what {issuer.certificate.label} may certify: {', '.join(sorted(allowed))}"
        yield _fault("extended key usage", found, listed, "CSBR 7.1.2.2")


# --- rules of some profiles -----------------------------------------------------------------------


def _revocable(prepared: Prepared) -> Iterator[Fault]:
    urls = prepared.certificate.crl_urls
    if not urls:
        yield _fault("CRL distribution points", "none", "one", "CSBR 7.1.2.3")
    places = (*urls, *prepared.certificate.ocsp_urls, *prepared.certificate.issuer_urls)
    for url in places:
        if urlsplit(url).scheme != "http":
            yield _fault("location", url, "plain http: verifiers ask before they trust anything",
                         "RFC 5280 8", grave=False)  # fmt: skip


def _code_signing(prepared: Prepared) -> Iterator[Fault]:
    ekus = prepared.certificate.ekus or frozenset()
    if EKU_CODE_SIGNING not in ekus or ekus & {ANY_EKU, EKU_SERVER_AUTH, EKU_TIME_STAMPING}:
        yield _fault("extended key usage", ", ".join(sorted(ekus)), "code signing, without TLS, "
                     "time stamping or any use", "CSBR 7.1.2.3")  # fmt: skip
    yield from _policy(prepared)
    yield from _country(prepared)


def _timestamping(prepared: Prepared) -> Iterator[Fault]:
    made = prepared.certificate
    if made.ekus != frozenset({EKU_TIME_STAMPING}) or not made.extensions[
        x509.EXTENDED_KEY_USAGE][0]:  # fmt: skip
        yield _fault("extended key usage", ", ".join(sorted(made.ekus or ())),
                     "time stamping alone, critical", "RFC 3161 2.3")  # fmt: skip
    yield from _rsa_of(prepared, 3072, "CSBR 6.1.5.2")
    yield from _policy(prepared)


def _authority(prepared: Prepared) -> Iterator[Fault]:
    usage = prepared.certificate.key_usage or frozenset()
    if not {"keyCertSign", "cRLSign"} <= usage:
        yield _fault("key usage", ", ".join(sorted(usage)), "keyCertSign and cRLSign",
                     "CSBR 7.1.2.1")  # fmt: skip
    yield from _rsa_of(prepared, 4096, "CSBR 6.1.5.1")
    yield from _country(prepared)


def _subordinate(prepared: Prepared) -> Iterator[Fault]:
    ekus = prepared.certificate.ekus or frozenset()
    if not ekus or ANY_EKU in ekus or {EKU_CODE_SIGNING, EKU_TIME_STAMPING} <= ekus:
        yield _fault("extended key usage", ", ".join(sorted(ekus)) or "none", "named uses, and "
                     "not code signing beside time stamping", "CSBR 7.1.2.2")  # fmt: skip
    yield from _policy(prepared)


def _responder(prepared: Prepared) -> Iterator[Fault]:
    made = prepared.certificate
    if made.ekus != frozenset({EKU_OCSP_SIGNING}):
        yield _fault("extended key usage", ", ".join(sorted(made.ekus or ())),
                     "OCSP signing alone", "RFC 6960 4.2.2.2")  # fmt: skip
    critical, value = made.extensions.get(NO_CHECK, (True, b""))
    if critical or value != der.null():
        yield _fault("ocsp-nocheck", "absent or odd", "NULL, not critical", "RFC 6960 4.2.2.2.1")


def _policy(prepared: Prepared) -> Iterator[Fault]:
    if x509.CERTIFICATE_POLICIES not in prepared.certificate.extensions:
        yield _fault("certificate policies", "none", "one", "CSBR 7.1.2.3", grave=False)


def _country(prepared: Prepared) -> Iterator[Fault]:
    if "C" not in subject_attributes(prepared.certificate.subject):
        yield _fault("subject, C", "no country", "one, from a public authority", "CSBR 7.1.4.2",
                     grave=False)  # fmt: skip


def _rsa_of(prepared: Prepared, bits: int, clause: str) -> Iterator[Fault]:
    kind = kind_of(prepared.application.spki)
    if kind.startswith("rsa-") and int(kind.removeprefix("rsa-")) < bits:
        yield _fault("public key", kind, f"rsa-{bits} from a public authority", clause, grave=False)


def subject_attributes(name: bytes) -> list[str]:
    """Return the short name of every attribute in a DER Name; empty for unknown ones."""
    return [
        SHORT_NAMES.get(pair.fields("subject", 2)[0].oid(), "")
        for rdn in der.parse(name, "subject").fields("subject")
        for pair in rdn.fields("subject", 1, der.SET)
    ]


def _fault(subject: str, found: str, required: str, clause: str, *, grave: bool = True) -> Fault:
    return Fault(subject=subject, found=found, required=required, clause=clause, grave=grave)


ALWAYS: tuple[Rule, ...] = (
    _structure, _serial, _validity, _subject, _organization, _key, _extensions,
    _alternative_names, _issuer,
)  # fmt: skip

SETS: dict[str, Rule] = {
    "revocable": _revocable,
    "code-signing": _code_signing,
    "timestamping": _timestamping,
    "ca": _authority,
    "sub-ca": _subordinate,
    "ocsp-responder": _responder,
}
"""What ``rules`` in profiles.toml names."""
