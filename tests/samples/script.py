"""Scripts to sign: every family, with and without byte order mark."""

from conformance.authenticode.script import FAMILIES, encode

SAMPLES = {
    f"{encoding}.{extension}": lambda f=family, e=encoding: encode(f.sample, e)
    for extension, family in FAMILIES.items()
    for encoding in (
        ("utf-8", "utf-8-sig", "utf-16-le") if extension in ("ps1", "vbs") else ("utf-8",)
    )
}
BYTE_EXACT = True
