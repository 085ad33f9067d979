"""What each cause code means to a reader, and what usually helps.

``docs/causes.md`` is written from this table, and SARIF's rules carry it.
"""

from __future__ import annotations

from typing import NamedTuple

from signward.findings import Code


class Cause(NamedTuple):
    """A code in words: what it means, and the typical fix."""

    meaning: str
    fix: str


_AGAIN = "Get the file again from its maker, and compare its digest with the one he publishes."
_MAKER = "Ask the maker for a file that is signed anew."
_CHAIN = "The certificate authority's certificates are at fault; ask the maker for another signer."
_STAMP = "None is needed if the signer's certificate still counts; else ask for a new timestamp."

SECTIONS: dict[str, dict[Code, Cause]] = {
    "What the bytes are": {
        Code.UNSIGNED: Cause(
            "The file carries no signature, and no catalog in reach lists it.",
            "Windows' own files are often signed by catalog: give the folder with --catalog.",
        ),
        Code.UNSUPPORTED_KIND: Cause(
            "Files of this kind can be signed, but this version cannot judge them.",
            "Judge it with its platform's own tool; the file may well be signed.",
        ),
        Code.MALFORMED: Cause(
            "The file or its signature breaks the rules of its format; an empty file does too.",
            _AGAIN,
        ),
        Code.LIMIT_EXCEEDED: Cause(
            "A size, count or depth is beyond any real file's: reading on could exhaust memory.",
            "Treat the file as hostile unless its maker explains it.",
        ),
        Code.AMBIGUOUS: Cause(
            "The bytes can be read in two ways, and a signature vouches for one of them.",
            "Save a script as UTF-8 with a byte order mark and sign it again; repack an archive.",
        ),
        Code.SEVERAL_ENTRIES: Cause(
            "A PE image that is no EFI image has more than one entry in its certificate table.",
            "Windows checks the first alone: sign again with nested signatures instead.",
        ),
        Code.UNREADABLE: Cause(
            "The file cannot be opened or read.", "Look at its permissions and at the disk."
        ),
        Code.NOT_A_FILE: Cause(
            "The path is a folder, a device, a pipe or a socket.", "Use scan for folders."
        ),
        Code.CHANGED_WHILE_READ: Cause(
            "The file changed while it was judged.", "Judge it again when nothing writes to it."
        ),
        Code.JUDGE_FAILED: Cause(
            "Signward itself failed on this file during a scan.",
            "Please report it: SECURITY.md says how.",
        ),
    },
    "Integrity": {
        Code.DIGEST_MISMATCH: Cause("The content is not what was signed.", _AGAIN),
        Code.PAGE_HASH_MISMATCH: Cause(
            "A page of the image is not what was signed, whatever its whole digest says.", _AGAIN
        ),
        Code.SLOT_MISSING: Cause(
            "The signature leaves out a part that runs and must be covered.", _MAKER
        ),
        Code.COMPANION_MISSING: Cause(
            "A manifest speaks of files beside it, and one of them is not there to be looked at.",
            "Judge it where it is deployed, with all of its files.",
        ),
        Code.UNCOVERED_CONTENT: Cause(
            "The file holds bytes that no signature covers and no rule exempts (CVE-2013-3900).",
            "Treat it as changed after signing. Some installers hide settings there: ask for "
            "a file without.",
        ),
        Code.SIGNATURE_MISMATCH: Cause(
            "The signature value does not fit the signer's key.", _AGAIN
        ),
        Code.ATTRIBUTE_RULE: Cause(
            "A signed attribute is absent, there twice, or says something else than it must.",
            _MAKER,
        ),
        Code.ALGORITHM_INCONSISTENT: Cause(
            "Parts of the signature name different algorithms for the same thing.", _MAKER
        ),
        Code.UNSUPPORTED_ALGORITHM: Cause(
            "The signature uses an algorithm that cannot be checked here.",
            "A newer version may know it; until then nothing can be said.",
        ),
        Code.KEY_MISSING: Cause(
            "The signer's certificate is not embedded and was not given.",
            "Give it with --certificate.",
        ),
        Code.UNAUTHENTICATED_DATA: Cause(
            "An unsigned attribute carries data that anybody can change.",
            "Nothing, unless a program reads it: it must not trust it.",
        ),
        Code.CHECKSUM_MISMATCH: Cause(
            "The PE checksum is wrong; no signature covers it.",
            "Nothing for programs; Windows refuses drivers with a wrong one.",
        ),
        Code.LEFTOVER_SIGNATURE: Cause(
            "Bytes that look like a signature lie where none is announced.",
            "A signature was taken off carelessly: get the file again.",
        ),
        Code.AD_HOC: Cause(
            "The file holds digests of its own content, and nobody signed them.",
            "Fit for the machine that built it; to ship it, sign it with an identity.",
        ),
        Code.REQUIREMENT_FAILED: Cause(
            "The signer is not whom the code's own designated requirement names.", _AGAIN
        ),
        Code.TICKET: Cause(
            "The notarization ticket stapled to it is not Apple's, or speaks of other code.",
            "Staple it anew; without network access macOS would refuse it.",
        ),
        Code.SLICES_DISAGREE: Cause(
            "The architectures in a universal file are not all signed by the same signer.",
            "Which one runs depends on the machine: ask the maker for a file signed whole.",
        ),
        Code.NOT_DER: Cause("A structure is encoded otherwise than X.690 asks.", "Nothing."),
    },
    "Algorithms": {
        Code.WEAK_DIGEST: Cause(
            "MD5, or SHA-1 without a time proven before the cut-off.",
            "For old files that nothing else vouches for: --sha1-until DATE.",
        ),
        Code.WEAK_KEY: Cause("A key is too short to be trusted, such as RSA-1024.", _MAKER),
        Code.EXPLICIT_CURVE: Cause(
            "A key brings its own curve parameters instead of naming a curve (CVE-2020-0601).",
            _CHAIN,
        ),
    },
    "Certification path": {
        Code.NO_PATH: Cause(
            "No certificate leads on from the signer's towards an anchor.",
            "Give the missing ones with --certificate, or allow --online.",
        ),
        Code.UNTRUSTED_ROOT: Cause(
            "The path ends at a root that is not in the store.",
            "If you trust that root: --anchor root.pem. Test certificates end here too.",
        ),
        Code.DISTRUSTED: Cause(
            "The root is in the store, but no longer for this use or this date.", _MAKER
        ),
        Code.EXPIRED: Cause(
            "A certificate had ended at the instant it was judged at.",
            "Without a trusted timestamp a signature ends with its certificate: ask for one that "
            "is timestamped.",
        ),
        Code.NOT_YET_VALID: Cause(
            "A certificate had not begun at the instant it was judged at.",
            "Look at --at and at the clock.",
        ),
        Code.CERTIFICATE_MALFORMED: Cause("A certificate breaks the rules of X.509.", _CHAIN),
        Code.CERTIFICATE_SIGNATURE: Cause(
            "A certificate names an issuer whose key did not sign it.", _CHAIN
        ),
        Code.BASIC_CONSTRAINTS: Cause(
            "A certificate that is no authority's stands where one must.", _CHAIN
        ),
        Code.PATH_LENGTH: Cause("An authority may not have further ones below it.", _CHAIN),
        Code.NAME_CONSTRAINTS: Cause(
            "An authority certified a name that it may not certify.", _CHAIN
        ),
        Code.CERTIFICATE_POLICY: Cause("The certificate policies exclude this path.", _CHAIN),
        Code.CRITICAL_EXTENSION: Cause(
            "A certificate has a critical extension that nobody here understands.", _CHAIN
        ),
        Code.WRONG_USAGE: Cause(
            "A certificate is not meant for this, such as a TLS certificate that signs code.",
            "Ask the maker for a file signed with a code signing certificate.",
        ),
    },
    "Time": {
        Code.TIMESTAMP_UNTRUSTED: Cause(
            "A timestamp's authority is not trusted, so it proves nothing and is ignored.",
            _STAMP,
        ),
        Code.TIMESTAMP_MISMATCH: Cause(
            "A timestamp belongs to another signature, or its value is wrong.", _STAMP
        ),
        Code.TIMESTAMP_USAGE: Cause(
            "A timestamp's certificate is not for timestamping, or not for that alone.", _STAMP
        ),
        Code.TIMESTAMP_REVOKED: Cause(
            "The timestamp authority's certificate was revoked in a way that spoils its tokens.",
            _STAMP,
        ),
        Code.TIMESTAMP_MALFORMED: Cause("A timestamp breaks the rules of RFC 3161.", _STAMP),
        Code.TIMESTAMP_AFTER_EXPIRY: Cause(
            "The timestamp was made when the signer's certificate had ended already.", _MAKER
        ),
        Code.TIMESTAMP_IN_FUTURE: Cause(
            "A timestamp lies after the instant that is asked about.",
            "Look at --at and at the clock.",
        ),
        Code.LIFETIME_SIGNING: Cause(
            "The certificate ends its signatures with itself, timestamped or not.", _MAKER
        ),
        Code.NO_PROVEN_TIME: Cause(
            "No timestamp counts, so the validation time is what the signature is judged at.",
            "Look at the timestamp's own finding.",
        ),
        Code.LOG_ENTRY: Cause(
            "A transparency log that is trusted does not know this signature, or its certificate.",
            "Get the attestation again from its maker; for another Sigstore give its trust root "
            "with --trusted-root.",
        ),
    },
    "Revocation": {
        Code.REVOKED: Cause(
            "A certificate of the path was revoked before the signature is proven to exist.",
            "Do not run it. Ask the maker what happened.",
        ),
        Code.REVOCATION_UNKNOWN: Cause(
            "No CRL or OCSP answer at hand speaks for a certificate.",
            "Give --crl or --ocsp files, or allow --online. --revocation says what it does.",
        ),
        Code.SIGNED_BEFORE_REVOCATION: Cause(
            "A certificate was revoked, but a trusted timestamp shows that the signature is older.",
            "--distrust-compromised rejects it where the key was compromised.",
        ),
        Code.REVOCATION_EVIDENCE: Cause(
            "A certificate, CRL or OCSP answer was sought online in vain.",
            "Try again later, or give it as a file.",
        ),
        Code.REVOCATION_FEED: Cause(
            "A revocation feed could not be renewed, was refused (an older version, a signature "
            "that does not fit), or has ended.",
            "Its last good version counts meanwhile. A version that goes backwards is an attack "
            "or a fault of whoever serves it: ask its publisher.",
        ),
    },
    "Policy": {
        Code.PUBLISHER_MISMATCH: Cause(
            "A trusted signer, but none of those that --publisher names.",
            "Compare the name with the one verify prints.",
        ),
        Code.BY_CATALOG: Cause(
            "A catalog lists the file; the catalog's signature is the one judged.", "Nothing."
        ),
        Code.BY_PACKAGE: Cause(
            "A package brings exactly this file, and a signed list of its archive names the "
            "package; that list's signature is the one judged.",
            "Nothing.",
        ),
        Code.NOT_VOUCHED: Cause(
            "The file is a package's, but the package itself, or a signed list that names it, is "
            "not at hand: vouched for by nobody here.",
            "Fetch the package as the hint says, and name its folder with --debs; for one that no "
            "list names, apt-get update first.",
        ),
        Code.LISTED: Cause(
            "A list of digests names the file. That is no signature, whoever signed the list.",
            "Nothing where somebody trusted signed the list; else ask its maker for a signed one.",
        ),
        Code.CLAIMED: Cause(
            "A network device says this of the file (--device-says): told, and deciding nothing.",
            "For a verdict, give what can be checked here: a digest list that its maker signed.",
        ),
        Code.KERNEL_POLICY: Cause(
            "The named Windows generation does not load a driver so signed, or says why it does.",
            "Ask the maker for a driver that Microsoft signed (WHQL); --windows-generation judges "
            "for another Windows.",
        ),
        Code.BLOCKED: Cause(
            "A block list given with --block-list denies the file, whoever signed it.",
            "Replace it: drivers on Microsoft's list hold holes that attackers use. Its maker may "
            "have a repaired version.",
        ),
        Code.PUBLISHER_REVOKED: Cause(
            "A revocation feed given with --feed names the publisher: nothing of his is accepted, "
            "whenever it was signed.",
            "Ask whoever publishes the feed.",
        ),
        Code.DIGEST_REVOKED: Cause(
            "A revocation feed given with --feed, or a dbx given with --dbx, names this very file.",
            "Remove it; its maker or whoever publishes the feed knows what takes its place.",
        ),
        Code.SBAT_REVOKED: Cause(
            "A boot program's security generation (SBAT) is below what the revocations allow.",
            "Install the distribution's current shim and boot loader.",
        ),
        Code.REPLAYED: Cause(
            "A write of a UEFI variable is not later than the last one (--after).",
            "Have it signed anew: firmware refuses a write that is older than what it took last.",
        ),
        Code.BY_POLICY: Cause(
            "A rule of the policy lets in what its signature alone would not, or audits it.",
            "Nothing if that is meant; signward policy explain tells which rule it is.",
        ),
        Code.POLICY_DENIED: Cause(
            "A deny rule of the policy given with --policy matches the file.",
            "signward policy explain tells why; an exception may spare it until a date.",
        ),
        Code.NO_RULE: Cause(
            "No rule of the policy lets the file in, whoever signed it.",
            "If it is wanted, add a rule for its publisher: signward policy explain tells more.",
        ),
        Code.DOWNGRADE: Cause(
            "A rule would let it in, but for its version: it is older than the rule's floor, "
            "however well it is signed.",
            "Install a newer version; who must go back lowers minimum_version in the policy.",
        ),
        Code.REQUIREMENT_UNMET: Cause(
            "A rule matches, but the signature lacks what the policy requires, a timestamp say.",
            _MAKER,
        ),
        Code.POLICY_UNDECIDED: Cause(
            "What the policy asks is not known of the file: it is neither let in nor denied.",
            "The message names what is missing; signward policy explain tells for which rules.",
        ),
    },
    "The estate's certificates (signward certs; never a file's cause)": {
        Code.EXPIRES_SOON: Cause(
            "A signing certificate ends within the days that were asked about.",
            "Order its successor; timestamp what is signed until then.",
        ),
        Code.VALIDITY_PERIOD: Cause(
            "A publicly trusted code signing certificate is valid for longer than it may be.",
            "Its authority must revoke it: have it replaced before that.",
        ),
    },
}
"""Every code, in the order of :class:`~signward.findings.Code`."""

CAUSES: dict[Code, Cause] = {
    code: cause for section in SECTIONS.values() for code, cause in section.items()
}
