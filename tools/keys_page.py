"""``docs/keys.md``: where keys may live, from the providers themselves and what is noted here."""

from __future__ import annotations

from collections.abc import Iterator

from signward.keys import provider, schemes
from signward.keys._rest import MAX_SECONDS, MAX_TRIES

_HEAD = """# Keys

Written by `make docs`: do not edit.

`--key URI` says where the private key is. A provider gets the octets to sign, or their digest,
and never a file. What it returns is checked against the certificate before anything is written.
Certificates kept beside the key are used; others, and issuers, are given with `--cert`. So is what
else holds a public key, whatever provider has the private one: an OpenPGP certificate, a public key
of minisign or signify.

"""

_SECRETS = """
## Secrets

No secret is an argument or part of a URI: other processes read a command line. A `pin-value` in
a PKCS#11 URI and unknown options of any URI are refused.

- **Passwords and PINs** are the first line of the file that `--pass-file` names, else the
  variable `SIGNWARD_PASSWORD`, else asked for at the terminal. Each is looked for once, and only
  when it is needed. A wrong PIN is not tried again: tokens lock after a few.
- **Tokens and API keys** are environment variables of the vendors' own names (the table), or
  files: `VAULT_TOKEN_FILE=/run/secrets/vault` stands for `VAULT_TOKEN`. They are never prompted
  for.
- Secrets stand in no message. What a service says in an error is quoted without control
  characters, and without the credentials that were sent to it.

## Files

`file:` reads PEM (PKCS#8, PKCS#1, SEC 1, encrypted PKCS#8, OpenSSL's traditional encryption), DER
and PVK (plain, and RC4 of 40 and 128 bits), and secret keys of OpenPGP, OpenSSH, minisign and
signify, locked or not. Certificates in the same PEM file are used. `pkcs12:` tries no password and
the empty one before it asks. ECDSA with keys in files is deterministic (RFC 6979), so the same
input gives the same bytes.

## PKCS#11

The URI is RFC 7512's: `token`, `serial`, `manufacturer`, `model`, `slot-id` choose the token,
`object` and `id` the private key, and exactly one must fit. `module-path` names the vendor's
library; `module-name` is looked for in the usual folders; without either `p11-kit-proxy` is
asked, which knows all registered modules. `pin-source=file:PATH` names a file with the PIN.
Certificates are those with the key's CKA_ID, and their issuers on the token. Keys that ask for
the PIN at every use (a PIV token's signature slot) get it.

    pkcs11:token=Release;object=signer?module-path=/usr/lib/softhsm/libsofthsm2.so
    pkcs11:id=%02?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so

python-pkcs11 initialises modules for one thread, so one process signs one value at a time on a
token. Several processes may sign at once.

"""

_SERVICES = """
## Services

Each option follows the URI's `?`; `endpoint=https://HOST` replaces the service's own address.
HTTP is accepted to this machine only; certificates of servers are always verified (further
roots: `SSL_CERT_FILE`). Redirects, proxies and cookies are not used. An exchange takes
{seconds:.0f} seconds at most; a service that says it is busy (429, 502, 503, 504) is asked {tries}
times in all, with growing pauses. RSA-PSS is as the services have it: MGF1 by the same digest,
a salt as long as the digest.

- **AWS KMS** keeps no certificate: give it with `--cert`. Credentials come the ways of AWS's own
  tools (variables, profile, role). An alias is resolved when the key is opened.
- **Azure Artifact Signing** issues a leaf for three days at a time and tells which one it used only
  in an answer. Opening the key therefore costs one signature, over the digest of a fixed sentence.
  When the leaf has changed since, the file is begun again with the next one.
- **Azure** credentials are `AZURE_ACCESS_TOKEN`, or `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and either
  `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_TOKEN_FILE` (workload identities);
  `AZURE_AUTHORITY_HOST` names another cloud's login. Managed identities are not asked: get a token
  with `az account get-access-token`.
- **Azure Key Vault** gives the leaf alone: give its issuers with `--cert`. `VAULT` is a name in the
  public cloud, or a host. Without a version the latest one is opened and kept.
- **Google Cloud KMS** keeps no certificate, and a key version signs by one algorithm. Checksums
  (CRC-32C) of digest, signature and public key are compared. A service account's key file
  (`GOOGLE_APPLICATION_CREDENTIALS`) works as well as a token.
- **DigiCert** wants a client certificate too: `SM_CLIENT_CERT_FILE` (PKCS#12) and
  `SM_CLIENT_CERT_PASSWORD`. `SM_HOST` names the region's host.
- **Signward's own service** (`signward serve`) is named by the key's URL:
  `--key https://signer.example/keys/release`. Who asks is said by `SIGNWARD_TOKEN`, or by a client
  certificate (`SIGNWARD_CLIENT_CERT` and `SIGNWARD_CLIENT_KEY`, PEM files, the key not encrypted);
  `SIGNWARD_CA` names whom to believe instead of the system's roots. It timestamps what it signs
  and gives a receipt from its log; `SIGNWARD_LOG_KEY` (the text `signward log key` prints) is the
  only log whose receipts are taken then. Where people must approve, the command waits for an hour,
  or as `?wait=SECONDS` behind the URL says. With `SIGNWARD_RUN` set (to a build's number, say) the
  same order of a later try goes under the same idempotency key: it finds the request of the first,
  and its answer. Without, every order has a key of its own; answers lost on the way are asked for
  again under it either way, and nothing is signed twice for them.
- **SignPath** signs by fast requests of a project for hash signing data; RSA only, because the
  form of its elliptic curve values is not documented.
- **Vault** is found by `VAULT_ADDR`, with `VAULT_NAMESPACE` where there is one. The latest version
  is opened and kept, or the one named: `vault:transit/release/3`. A chain set on the key is used.
"""

_NOTES = {
    "aws-kms": ("`aws`", "AWS's own", "moto (values of DIGEST: our own loopback service)"),
    "azure-artifact-signing": ("", "`AZURE_...`", "our own loopback service"),
    "azure-kv": ("", "`AZURE_...`", "our own loopback service"),
    "digicert": ("", "`SM_API_KEY`, `SM_CLIENT_CERT_PASSWORD`", "our own loopback service"),
    "file": (
        "`ssh`: locked keys of OpenSSH and signify",
        "password",
        "files that OpenSSL, GnuPG, minisign, signify and ssh-keygen wrote",
    ),
    "gcp-kms": ("", "`GOOGLE_ACCESS_TOKEN`", "our own loopback service"),
    "pkcs11": ("`hsm`", "PIN", "SoftHSM 2.6, with OpenSSL and pkcs11-tool"),
    "pkcs12": ("", "password", "files that OpenSSL wrote"),
    "remote": ("", "`SIGNWARD_TOKEN`", "`signward serve`; for Signward's own services"),
    "signpath": ("", "`SIGNPATH_API_TOKEN`", "our own loopback service"),
    "vault": ("", "`VAULT_TOKEN`", "our own loopback service"),
}
"""What the table says of each provider: its extra, its secrets, and what it was tested against."""

_TESTED = """
*Our own loopback service* answers as the vendor documents it and checks every request; it is not
the vendor's service. [What that leaves open](limits.md).
"""


def keys_page() -> str:
    """Return ``docs/keys.md``."""
    services = _SERVICES.format(seconds=MAX_SECONDS, tries=MAX_TRIES).lstrip("\n")
    return _HEAD + "\n".join(_table()) + "\n" + _TESTED + _SECRETS + services


def _table() -> Iterator[str]:
    yield "| provider | what, and an example | extra | secrets | tested against |"
    yield "|---|---|---|---|---|"
    for scheme in schemes():
        what, _, example = provider(scheme).help.rpartition(f": {scheme}:")
        extra, secrets, tested = _NOTES[scheme]
        yield f"| `{scheme}:` | {what}: `{scheme}:{example}` | {extra} | {secrets} | {tested} |"
    yield "\nAn extra is installed with `pip install 'signward[NAME]'`."
