"""Microsoft's Secure Boot certificates, and when its list of revoked images grew.

Facts, from: Windows Secure Boot Key Creation and Management Guidance (KB5066426), 1.3 and 1.4, and
"Windows Secure Boot certificate expiration and CA updates" (KB5062710), for certificates;
microsoft/secureboot_objects, PreSignedObjects/DBX/dbx_info_msft_latest.json, for the list.
"""

from __future__ import annotations

from datetime import date

from signward.frozen import Frozen


class Authority(Frozen, frozen=True, kw_only=True):
    """One certificate that PCs are delivered with: ``sha256`` of its DER, in hexadecimal.

    ``variable`` is where it belongs, ``generation`` the year that stands in its name, ``signs``
    what it is for; ``follows`` is the name of the one it takes over from.
    """

    name: str
    sha256: str
    variable: str
    generation: int
    signs: str
    follows: str = ""


KEK_2011 = Authority(
    name="Microsoft Corporation KEK CA 2011",
    sha256="a1117f516a32cefcba3f2d1ace10a87972fd6bbe8fe0d0b996e09e65d802a503",
    variable="KEK", generation=2011, signs="updates of db and dbx",
)  # fmt: skip
WINDOWS_2011 = Authority(
    name="Microsoft Windows Production PCA 2011",
    sha256="e8e95f0733a55e8bad7be0a1413ee23c51fcea64b3c8fa6a786935fddcc71961",
    variable="db", generation=2011, signs="Windows' boot manager",
)  # fmt: skip
UEFI_2011 = Authority(
    name="Microsoft Corporation UEFI CA 2011",
    sha256="48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507",
    variable="db", generation=2011, signs="shim, other systems' boot programs, option ROMs",
)  # fmt: skip
KEK_2023 = Authority(
    name="Microsoft Corporation KEK 2K CA 2023",
    sha256="3cd3f0309edae228767a976dd40d9f4affc4fbd5218f2e8cc3c9dd97e8ac6f9d",
    variable="KEK", generation=2023, signs=KEK_2011.signs, follows=KEK_2011.name,
)  # fmt: skip
WINDOWS_2023 = Authority(
    name="Windows UEFI CA 2023",
    sha256="076f1fea90ac29155ebf77c17682f75f1fdd1be196da302dc8461e350a9ae330",
    variable="db", generation=2023, signs=WINDOWS_2011.signs, follows=WINDOWS_2011.name,
)  # fmt: skip
UEFI_2023 = Authority(
    name="Microsoft UEFI CA 2023",
    sha256="f6124e34125bee3fe6d79a574eaa7b91c0e7bd9d929c1a321178efd611dad901",
    variable="db", generation=2023, signs="shim and other systems' boot programs",
    follows=UEFI_2011.name,
)  # fmt: skip
ROM_2023 = Authority(
    name="Microsoft Option ROM UEFI CA 2023",
    sha256="e5be3e64c6e66a281457ecdece0d6d0787577aad2a3a0144262c10c14ba8d8f1",
    variable="db", generation=2023, signs="option ROMs", follows=UEFI_2011.name,
)  # fmt: skip

AUTHORITIES = {
    authority.sha256: authority
    for authority in (
        KEK_2011, WINDOWS_2011, UEFI_2011, KEK_2023, WINDOWS_2023, UEFI_2023, ROM_2023,
    )
}  # fmt: skip
"""All of them by their SHA-256."""

OLD = frozenset(a.sha256 for a in AUTHORITIES.values() if a.generation == 2011)
"""The certificates that ended in June and October 2026."""

_GREW = {
    "x64": {
        "2018-04-01": "80b4d96931bf0d02fd91a61e19d14f1da452e66db2408ca8604d411f92659f0a",
        "2020-07-01": "c805603c4fa038776e42f263c604b49d96840322e1922d5606a9b0bbb5bffe6f",
        "2021-04-01": "040b3bc339e9b6f9acd828b88f3482a5c3f64e67e5a714ba1da8a70453b34af6",
        "2022-08-01": "c55be4a2a6ac574a9d46f1e1c54cac29d29dcd7b9040389e7157bb32c4591c4c",
        "2023-03-01": "1788d84aa61ede6f2e96cfc900ad1cab1c5be86537f27212e8c291d6ade3b1e9",
        "2023-05-01": "1eaed62c4abcb2524643e1723f6aadcc31a74af4d2285d3b13880cc44c22dec5",
        "2024-03-01": "bb4919d8f38dba90154f963c47be83b665076c6eb4b230b3cee91e4b7706cc12",
        "2024-11-01": "cdb7c90d3ab8833d5324f5d8516d41fa990b9ca721fe643fffaef9057d9f9e48",
        "2025-05-07": "c54a4060b3a76fa045b7b60eaebc8389780376ba3ef1f63d417ba1b55be3a093",
        "2025-09-02": "e14c88dc48339c0555686849a4e3f8986d558e65c4fc863a1a4f1d40478bd47c",
        "2026-04-02": "d013ba511aee89ba3285d1cac0c9f4f21ef4810873c2ebbffe7712bf0be8ced3",
        "2026-04-09": "ae75f0d82ba3df824fbfc69340cc3b4d66c598373b1ab54cdb6c8bfd83a6b961",
    },
    "ia32": {
        "2018-04-01": "363384d14d1f2e0b7815626484c459ad57a318ef4396266048d058c5a19bbf76",
        "2020-07-01": "56fb79aab26ee9d0e0ca372fb86a8bb459acbc505d0ab35e6a632a3d5f88dcb3",
        "2021-04-01": "01e2da8ec5a6929ddbbbeb2e9807586facddca6a7ef62bfebb581bdc2d7274d6",
        "2023-03-01": "1f8a0e13aade0885a06b5d822bb21d8111664c37691f0d256eba840277511bca",
        "2023-05-01": "1c19a5a240a361131dcc5ec25363da6e79c7d55b3c79c0976c947f1d04a38aaa",
        "2024-03-01": "c631fae3e49c8ee83c0af1ae9e6f116a382e71a88d05618dcf49433e030f4476",
        "2024-11-01": "e9e4b5a51f6a5575b9f5bfab1852b0cb2795c66ff4b28135097cba671a5491b9",
        "2025-09-02": "97f9d7b439e283993dcb15f7778b00eaf0621ee0617bd725495770fb44921a82",
        "2026-04-02": "a059d649606a11f88e6ba2883491c6eb4cad48e433846e29cab8d14547164016",
    },
    "aarch64": {
        "2018-04-01": "075eea060589548ba060b2feed10da3c20c7fe9b17cd026b94e8a683b8115238",
        "2021-04-01": "62b79fb4a04052fcb498a97f22a3567642d4bc47d1c2ff9a06311c8c6148e907",
        "2022-08-01": "f4dc5a40d2a9dbdab210bae0c508e053ae986c4da42d68760a1655d6fbaec051",
        "2023-05-01": "a1a59cc2784246ad693b1df151454642324e89c898566a59906891f48089ece9",
    },
    "arm": {
        "2018-04-01": "07e6c6a858646fb1efc67903fe28b116011f2367fe92e6be2b36999eff39d09e",
        "2023-05-01": "1dc8a3f59b23ccc411d46691fc9b5c35993bca20e7e2299f1a95223b9f112e43",
    },
}
"""For every day the list grew, the SHA-256 of one image it then got, by architecture."""


class DbxAge(Frozen, frozen=True, kw_only=True):
    """How far a dbx follows Microsoft's list: the last growth it has, the last known to us."""

    held: date | None
    newest: date


def dbx_age(images: frozenset[bytes]) -> DbxAge:
    """Return how old a dbx is by the images in it (SHA-256 digests).

    Updates differ by architecture: the one counts of which most days are there.
    """
    days = {arch: _days(grew, images) for arch, grew in _GREW.items()}
    arch = max(days, key=lambda name: len(days[name]))
    return DbxAge(held=max(days[arch], default=None), newest=date.fromisoformat(max(_GREW[arch])))


def _days(grew: dict[str, str], images: frozenset[bytes]) -> list[date]:
    return [date.fromisoformat(day) for day, one in grew.items() if bytes.fromhex(one) in images]
