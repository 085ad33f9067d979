"""Keys in hardware modules, smart cards and PIV tokens, over PKCS#11."""

from __future__ import annotations

from signward.errors import KeyProviderError
from signward.keys import Secrets, SigningKey
from signward.keys._pkcs11_uri import parse


class Pkcs11Provider:
    """Opens ``pkcs11:ATTRIBUTES?QUERY`` (RFC 7512)."""

    scheme = "pkcs11"
    help = (
        "a key in an HSM, smart card or PIV token (RFC 7512): "
        "pkcs11:token=Release;object=signer?module-path=/usr/lib/softhsm/libsofthsm2.so"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Find the one key the URI names, and log in where the token asks for it."""
        uri = parse(rest)
        try:
            from signward.keys._pkcs11_token import open_token_key
        except ModuleNotFoundError as error:
            found, hint = f"no {error.name}", "pip install 'signward[hsm]'"
            raise KeyProviderError("pkcs11:", found, "python-pkcs11", hint) from None
        return open_token_key(uri, secrets)


PROVIDER = Pkcs11Provider()
