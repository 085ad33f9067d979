"""ELF files, with a signature appended in the trailer of Linux kernel modules.

Source: System V gABI; `_appended` for the trailer.  Linux itself looks for it in modules and,
under IMA's ``modsig``, in kernel images and what a policy names; for programs and libraries it is
a convention of whoever checks it.  Every octet before the trailer is covered.
"""

from __future__ import annotations

from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._appended import (
    OPTIONS,
    SLOT,
    digests,
    drafted,
    embedded,
    envelopes_of,
    signatures_of,
    strays,
)
from signward.frozen import replace
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.device_names import is_cisco
from signward.wire.elf import MAGIC, read_elf
from signward.wire.module_trailer import MAGIC as TRAILER
from signward.wire.module_trailer import is_module, read_trailer
from signward.wire.patch import PatchSet


class ElfFormat:
    """The ELF format: programs and libraries."""

    name = "elf"
    spec = "System V gABI, with the trailer of kernel/module_signature.c"
    extensions: tuple[str, ...] = (".so",)
    options = OPTIONS

    def recognise(self, peek: Peek) -> Match:
        """Recognise an ELF file that is no kernel module, and no image of a Cisco device."""
        if peek.head[:4] != MAGIC or is_module(peek.head, peek.tail, peek.name):
            return Match.NO
        if is_cisco(peek.name) and not peek.tail.endswith(TRAILER):
            return Match.NO
        return Match.MAGIC

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the trailer and read the signature in it."""
        trailer = read_trailer(source)
        signatures = signatures_of(source, trailer) if trailer else ()
        end = trailer.start if trailer else source.length
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({SLOT}) for s in signatures},
            profile="linux-kernel",
            facts=_facts(source, end),
            findings=() if trailer else tuple(strays(source)),
            layout=end,
        )

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Return the artifact with the libraries it asks for."""
        found = read_elf(artifact.source, artifact.layout)
        if found is None:
            return artifact
        more = {"needs": ", ".join(found.needed), "runpath": found.runpath, "bits": found.bits}
        return replace(artifact, facts={**artifact.facts, **{k: v for k, v in more.items() if v}})

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digest of what the signature covers."""
        return digests(artifact.source, artifact.layout, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Append a signature."""
        sealed = yield drafted(source, request)
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the message in the trailer."""
        return envelopes_of(source)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that appends the first envelope in a trailer, or removes the trailer."""
        return embedded(source, envelopes)


def _facts(source: Source, end: int) -> dict[str, str | int]:
    """Return what the headers say: of a file that makes no sense nothing."""
    found = read_elf(source, end)
    if found is None:
        return {}
    facts = {
        "elf-role": found.role,
        "machine": found.machine,
        "interpreter": found.interpreter,
        "soname": found.soname,
    }
    return {name: value for name, value in facts.items() if value}


FORMAT = ElfFormat()
