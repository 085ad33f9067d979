"""IMA appraisal: the kernel checks signatures in extended attributes against its .ima keyring.

Spec: Documentation/ABI/testing/ima_policy of Linux.  What is appraised must carry a signature
(``security.ima``, or appended to a module or kernel) by a key of the keyring; who signed what is
all the same to it.  So a rule can be said that lets in whatever one signer signed, by the
signer's own certificate, which a CA in the kernel's built-in, secondary or machine keyring must
have issued.  Interpreters that read a script are no part of it: only scripts started by
themselves are appraised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from signward.compilers import Compiled, File
from signward.compilers._linux import LOSSES, keyring
from signward.compilers._lossy import Ledger
from signward.policy.rules.model import Material, Mode, Rule, RuleSet, Strict

GOVERNS = frozenset({"executable", "library", "kernel-module"})

_LOST = ("publisher", "identity", "signers", "product", "digest", "path", "origin", "catalog",
         "kind", "wider-kind", "hosts", "key", "audit", "deny", "expiry", "requirement-timestamp",
         "requirement-revocation", "requirement-algorithm", "requirement-log",
         "requirement-age")  # fmt: skip

_NO_SIGNATURES = {
    "proc": 0x9FA0,
    "sysfs": 0x62656572,
    "debugfs": 0x64626720,
    "devpts": 0x1CD1,
    "binfmt_misc": 0x42494E4D,
    "securityfs": 0x73636673,
    "selinux": 0xF97CFF8C,
    "smack": 0x43415D53,
    "nsfs": 0x6E736673,
    "efivarfs": 0xDE5E81E4,
    "cgroup": 0x27E0EB,
    "cgroup2": 0x63677270,
}
"""File systems of the kernel's own, by their magic (linux/magic.h): they hold no programs.

Those in memory (tmpfs, ramfs) are not among them, other than in the kernel's own list: anybody
can put a program there.
"""

_DIGESTS = ("sha256", "sha384", "sha512")
_ALSO = {
    "kexec": ("KEXEC_KERNEL_CHECK", "imasig|modsig"),
    "initramfs": ("KEXEC_INITRAMFS_CHECK", "imasig"),
    "firmware": ("FIRMWARE_CHECK", "imasig"),
    "policy": ("POLICY_CHECK", "imasig"),
}


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.ima]``.

    ``kernel`` is the oldest to run it: 5.16 brought ``appraise_algos=``.  ``modsig`` takes
    signatures appended to modules and kernels too.  ``also`` are further things that must be
    signed: kernels and initramfs for kexec, firmware, and the next policy.
    """

    kernel: Literal["5.4", "5.16"] = "5.16"
    modsig: bool = True
    also: tuple[Literal["kexec", "initramfs", "firmware", "policy"], ...] = ("kexec", "policy")


class Ima:
    """The compiler."""

    target = "ima"
    title = "IMA appraisal (Linux): policy, keyring and command line"
    spec = "Linux Documentation/ABI/testing/ima_policy"
    governs = GOVERNS
    losses: Mapping[str, str] = {name: LOSSES[name] for name in _LOST}
    settings = Settings
    checked = ("executed", "Linux 6.12 of Debian in a virtual machine, files signed by evmctl")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the policy (ASCII), the keyring's certificates (DER) and the command line."""
        ledger = Ledger("IMA")
        certificates, kept = keyring(ledger, rules, GOVERNS)
        algorithms = frozenset({"minimum_digest"}) if settings.kernel == "5.16" else frozenset()
        ledger.lose_requirements(rules, kept, checked=algorithms)
        ledger.lose_expiry(rules)
        return ledger.compiled(_files(rules, settings, certificates, kept))


def _files(
    rules: RuleSet, settings: Settings, certificates: Iterable[Material], kept: Iterable[Rule]
) -> Iterator[File]:
    lines = [*_lines(rules, settings, kept), ""]
    yield File(
        name="ima-policy",
        content="\n".join(lines).encode(),
        deploy="as /etc/ima/ima-policy: systemd loads it at boot. Sign first what the system "
        "needs: signward sign --ima --key KEY FOLDER",
    )
    mode = "log" if rules.mode is Mode.MONITOR else "enforce"
    yield File(
        name="cmdline",
        content=f"ima_appraise={mode}\n".encode(),
        deploy="onto the kernel's command line; under Secure Boot log is ignored",
    )
    for material in certificates:
        yield File(
            name=f"keys/{material.name}.der",
            content=material.der,
            deploy="into the .ima keyring: keyctl padd asymmetric '' %keyring:.ima < FILE, or in "
            "/etc/keys at boot; its CA must be in the kernel's keyrings",
        )


def _lines(rules: RuleSet, settings: Settings, kept: Iterable[Rule]) -> Iterator[str]:
    yield f"# {rules.name} {rules.version}"
    for name, magic in _NO_SIGNATURES.items():
        yield f"# {name}"
        yield f"dont_appraise fsmagic={magic:#x}"
    algorithms = _algorithms(rules, settings, kept)
    yield f"appraise func=BPRM_CHECK appraise_type=imasig{algorithms}"
    yield f"appraise func=MMAP_CHECK mask=MAY_EXEC appraise_type=imasig{algorithms}"
    modules = "imasig|modsig appraise_flag=check_blacklist" if settings.modsig else "imasig"
    yield f"appraise func=MODULE_CHECK appraise_type={modules}{algorithms}"
    for what in settings.also:
        function, kind = _ALSO[what]
        if kind == "imasig|modsig":
            kind = modules
        yield f"appraise func={function} appraise_type={kind}{algorithms}"


def _algorithms(rules: RuleSet, settings: Settings, kept: Iterable[Rule]) -> str:
    """Return the digests a signature may be over: as long as the strictest rule asks."""
    if settings.kernel == "5.4":
        return ""
    asked = [(rule.requires or rules.requirements).minimum_digest for rule in kept]
    least = max((_DIGESTS.index(one) for one in asked if one in _DIGESTS), default=0)
    return f" appraise_algos={','.join(_DIGESTS[least:])}"


COMPILER = Ima()
