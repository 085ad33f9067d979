"""apt, dnf, pip and npm: what is written, and what they do with it."""

from __future__ import annotations

import configparser
import email.utils
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signward.compilers import Compiled, Towards
from signward.compilers.package_managers import COMPILER, PackageSettings
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.force import in_force
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    OriginMatch,
    PublisherMatch,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from tests.builders.policies import AT, rule_set

KEY = (
    b"before\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n=abcd\n"
    b"-----END PGP PUBLIC KEY BLOCK-----\n"
)
APT = {"uri": "https://deb.example/debian", "suites": ["stable"], "components": ["main"]}
DNF = {"baseurl": "https://rpm.example/", "key_url": "file:///etc/pki/vendor.asc"}
ALWAYS = {"local-packages", "pip-signatures", "npm-signatures"}


def _rules(*rules: Rule, **keys: bytes) -> RuleSet:
    read = {name: material(name, data) for name, data in (keys or {"vendor": KEY}).items()}
    base = rule_set(*rules)
    return replace(base, keys={**base.keys, **read})


def _rule(name: str, action: Action = Action.ALLOW, key: str = "vendor", **more: Any) -> Rule:
    given = {"kind": ("package",), "publisher": PublisherMatch(key=key), **more}
    return Rule(id=name, action=action, **given)


def _compile(rules: RuleSet, **given: Any) -> Compiled:
    return COMPILER.compile(rules, msgspec.convert(given, PackageSettings))


def _lost(compiled: Compiled) -> list[tuple[str, str, Towards]]:
    return [(x.name, x.rule, x.towards) for x in compiled.losses if x.name not in ALWAYS]


def test_a_rule_lets_in_what_its_source_has() -> None:
    compiled = _compile(_rules(_rule("tools")), apt={"tools": APT}, dnf={"tools": DNF})
    assert _lost(compiled) == []
    assert compiled.content("apt/signward.sources").decode() == (
        "# Made by Signward from the policy generated 1\n\n# tools\nTypes: deb\n"
        "URIs: https://deb.example/debian\nSuites: stable\nComponents: main\nSigned-By:\n"
        " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abcd\n =abcd\n"
        " -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    repository = configparser.ConfigParser()
    repository.read_string(compiled.content("dnf/signward.repo").decode())
    assert dict(repository["tools"]) == {
        "name": "tools", "baseurl": DNF["baseurl"], "enabled": "1", "gpgcheck": "1",
        "repo_gpgcheck": "1", "gpgkey": DNF["key_url"],
    }  # fmt: skip
    assert compiled.content("dnf/tools.asc").startswith(b"-----BEGIN PGP")


def test_every_manager_says_its_own_loss() -> None:
    assert {(x.name, x.towards) for x in _compile(_rules()).losses} == {
        (name, Towards.LOOSER) for name in ALWAYS
    }
    only = _compile(_rules(), managers=["dnf"])
    assert only.losses == ()
    assert [file.name for file in only.files] == ["dnf/signward.conf", "dnf/signward.repo"]


def test_a_key_that_is_denied_lets_nothing_in() -> None:
    rules = _rules(_rule("tools"), _rule("stolen", Action.DENY))
    compiled = _compile(rules, apt={"tools": APT})
    assert _lost(compiled) == []
    assert b"URIs" not in compiled.content("apt/signward.sources")


def test_packages_are_denied_by_name() -> None:
    names = (("deb", "acme-*"), ("rpm", "acme-**"))
    rules = _rules(*(
        Rule(id=f"no-{kind}", action=Action.DENY, origin=OriginMatch(kind=kind, name=name))  # type: ignore[arg-type]
        for kind, name in names
    ))  # fmt: skip
    compiled = _compile(rules)
    assert _lost(compiled) == []
    assert compiled.content("apt/signward.pref").endswith(
        b"\nPackage: acme-*:any\nPin: release *\nPin-Priority: -1\n"
    )
    main = configparser.ConfigParser()
    main.read_string(compiled.content("dnf/signward.conf").decode())
    assert main["main"]["excludepkgs"] == "acme-*"
    assert main["main"]["gpgcheck"] == main["main"]["localpkg_gpgcheck"] == "1"


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("key", {"publisher": PublisherMatch(key="first-leaf")}),
        ("publisher", {"publisher": PublisherMatch(organization="x")}),
        ("signers", {"publisher": None, "signers": SignersMatch(least=2, of=(
            PublisherMatch(key="vendor"), PublisherMatch(key="first-leaf")))}),
        ("digest", {"digest": ("file:sha256:" + "00" * 32,)}),
        ("kind", {"publisher": None}),
        ("origin", {"origin": OriginMatch(kind="deb", name="acme")}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", [Action.ALLOW, Action.DENY])
def test_what_managers_cannot_say_is_left_out(
    name: str, conditions: dict[str, Any], action: Action
) -> None:
    compiled = _compile(_rules(_rule("x", action, **conditions)), apt={"x": APT})
    towards = Towards.LOOSER if action is Action.DENY else Towards.STRICTER
    assert _lost(compiled) == [(name, "x", towards)]
    assert b"URIs" not in compiled.content("apt/signward.sources")


def test_a_key_without_a_source_is_lost_by_origin() -> None:
    assert _lost(_compile(_rules(_rule("x")))) == [("origin", "x", Towards.STRICTER)]
    rpm = _rule("x", kind=("rpm",))
    assert _lost(_compile(_rules(rpm), apt={"x": APT})) == [("origin", "x", Towards.STRICTER)]


@pytest.mark.parametrize("name", ["acme\nPin-Priority: 1001", "a b", "", "$(x)", "acme/x"])
def test_names_that_would_break_a_line_are_lost(name: str) -> None:
    origin = OriginMatch(kind="deb", name=name, repository="" if name else "x")
    rule = Rule(id="x", action=Action.DENY, origin=origin)
    compiled = _compile(_rules(rule))
    assert _lost(compiled) == [("origin", "x", Towards.LOOSER)]


def test_exceptions_end_and_spare_in_vain() -> None:
    until = AT + timedelta(days=1)
    waivers = (
        Waiver(id="late", owner="o", reason="r", expires=until, kind=("deb",),
               publisher=PublisherMatch(key="vendor")),
        Waiver(id="w", owner="o", reason="r", expires=until, kind=("deb",), spares=("d",)),
    )  # fmt: skip
    denied = Rule(id="d", action=Action.DENY, origin=OriginMatch(kind="deb", name="acme"))
    rules = in_force(replace(_rules(denied), waivers=waivers), AT)
    compiled = _compile(rules, apt={"late": APT})
    assert _lost(compiled) == [
        ("expiry", "late", Towards.LOOSER),
        ("expiry", "w", Towards.LOOSER),
        ("exception", "w", Towards.STRICTER),
    ]
    assert b"URIs" in compiled.content("apt/signward.sources")


@pytest.mark.parametrize(
    "settings",
    [
        {"apt": {"x": {**APT, "uri": "https://a b"}}},
        {"apt": {"x": {**APT, "uri": "https://a\nTrusted: yes"}}},
        {"apt": {"x": {**APT, "suites": ["a\nb"]}}},
        {"apt": {"x": {**APT, "suites": []}}},
        {"pip_index": "https://a/${HOME}"},
    ],
)
def test_settings_that_would_break_a_line_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, PackageSettings)


def test_a_source_of_an_exception_that_ended_is_none_of_anybody() -> None:
    waiver = Waiver(id="late", owner="o", reason="r", expires=AT, publisher=PublisherMatch(key="x"))
    base = _rules()
    layer = replace(base.layers[0], rules=frozenset({"late"}))
    rules = in_force(replace(base, waivers=(waiver,), layers=(layer,)), AT)
    compiled = _compile(rules, apt={"late": APT})
    assert b"URIs" not in compiled.content("apt/signward.sources")


def test_a_key_for_dnf_is_a_file_of_the_machine() -> None:
    """One fetched over HTTP would be whoever's key answers."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"dnf": {"r": {**DNF, "key_url": "http://rpm.example/k"}}}, PackageSettings)


def test_a_source_of_no_rule_is_refused() -> None:
    with pytest.raises(PolicyError, match="nobody"):
        _compile(_rules(), apt={"nobody": APT})


# --- the managers themselves ------------------------------------------------------------------


def _need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
        capture_output=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@dataclass
class _Archive:
    """A repository of one package, and an apt whose whole world is a folder."""

    folder: Path

    def key(self, name: str) -> bytes:
        home = self._home(name)
        home.mkdir(mode=0o700)
        made = _run("gpg", "--homedir", str(home), "--batch", "--passphrase", "", "--pinentry-mode",
                    "loopback", "--quick-gen-key", name, "ed25519", "sign", "never")  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()
        return _run("gpg", "--homedir", str(home), "--armor", "--export").stdout

    def _home(self, name: str) -> Path:
        return self.folder / name

    def build(self, by: str = "") -> str:
        """Return the address of the repository, signed by a key's name or not at all."""
        top = self.folder / "repository"
        packages = top / "dists/stable/main/binary-amd64"
        foreign = top / "dists/stable/main/binary-i386"
        for each in (packages, foreign):
            each.mkdir(parents=True, exist_ok=True)
        (top / "acme.deb").write_bytes(b"never unpacked")
        text = (
            "Package: acme\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@example.org>\n"
            f"Filename: acme.deb\nSize: 14\nSHA256: {_sha256(top / 'acme.deb')}\n"
            "Description: test\n"
        )
        (packages / "Packages").write_text(text)
        text_i386 = text.replace("amd64", "i386")
        (foreign / "Packages").write_text(text_i386)
        release = (
            f"Suite: stable\nDate: {email.utils.formatdate(usegmt=True)}\nArchitectures: amd64 "
            f"i386\nComponents: main\nSHA256:\n {_sha256(packages / 'Packages')} {len(text)} "
            f"main/binary-amd64/Packages\n {_sha256(foreign / 'Packages')} {len(text_i386)} "
            "main/binary-i386/Packages\n"
        )
        plain, signed = top / "dists/stable/Release", top / "dists/stable/InRelease"
        plain.write_text(release)
        signed.unlink(missing_ok=True)
        if by:
            made = _run("gpg", "--homedir", str(self._home(by)), "--batch", "--clearsign",
                        "-o", str(signed), str(plain))  # fmt: skip
            assert made.returncode == 0, made.stderr.decode()
        return f"file:{top}"

    def takes(self, compiled: Compiled, package: str = "acme") -> bool:
        """Say whether apt updates from the sources and would install the package."""
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial",
                     "var/cache/apt/archives/partial", "var/lib/dpkg", "var/log/apt"):  # fmt: skip
            (root / name).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        places = {"99signward": "apt.conf.d/99signward", "signward.sources": "signward.sources",
                  "signward.pref": "preferences.d/signward.pref"}  # fmt: skip
        for file in compiled.files:
            if file.name.startswith("apt/"):
                target = root / "etc/apt" / places[file.name.removeprefix("apt/")]
                target.write_bytes(file.content)
        (root / "etc/apt/sources.list").write_text(
            f"deb [trusted=yes] file:{self.folder}/repository stable main\n"
        )
        world = self.folder / "apt.conf"
        world.write_text(
            f'Dir "{root}/";\nDir::Etc::main "/dev/null";\nAPT::Architecture "amd64";\n'
            f'APT::Architectures {{ "amd64"; "i386"; }};\nAPT::Sandbox::User "root";\n'
            f'Dir::Bin::methods "/usr/lib/apt/methods";\nDir::State::status '
            f'"{root}/var/lib/dpkg/status";\n#include "{root}/etc/apt/apt.conf.d/99signward";\n'
        )
        updated = _run("apt-get", "update", APT_CONFIG=str(world))
        planned = _run("apt-get", "install", "--simulate", package, APT_CONFIG=str(world))
        return updated.returncode == 0 and b"Inst acme" in planned.stdout


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> _Archive:
    _need("apt-get", "gpg", "gpgv")
    tmp_path.chmod(0o755)
    return _Archive(tmp_path)


@pytest.mark.interop
def test_apt_takes_what_the_rules_key_signed_and_nothing_else(archive: _Archive) -> None:
    keys = {name: archive.key(name) for name in ("vendor", "other")}
    settings = {"apt": {"tools": {**APT, "uri": archive.build()}}}
    compiled = _compile(_rules(_rule("tools"), **keys), **settings)
    assert not archive.takes(compiled)
    archive.build(by="other")
    assert not archive.takes(compiled)
    archive.build(by="vendor")
    assert archive.takes(compiled)
    assert not archive.takes(_compile(_rules(**keys)))
    denied = Rule(id="no", action=Action.DENY, origin=OriginMatch(kind="deb", name="ac*"))
    assert archive.takes(compiled, "acme:i386")
    for name in ("ac*", "acme", "*"):
        every = replace(denied, origin=OriginMatch(kind="deb", name=name))
        refusing = _compile(_rules(_rule("tools"), every, **keys), **settings)
        assert not archive.takes(refusing)
        assert not archive.takes(refusing, "acme:i386")


@pytest.mark.interop
def test_apt_takes_any_of_several_keys(archive: _Archive) -> None:
    keys = {name: archive.key(name) for name in ("vendor", "other", "third")}
    either = SignersMatch(least=1, of=tuple(PublisherMatch(key=k) for k in ("vendor", "other")))
    rule = _rule("tools", publisher=None, signers=either)
    for by, wanted in (("vendor", True), ("other", True), ("third", False)):
        settings = {"apt": {"tools": {**APT, "uri": archive.build(by=by)}}}
        assert archive.takes(_compile(_rules(rule, **keys), **settings)) is wanted


def _wheel(folder: Path) -> Path:
    path = folder / "acme_tool-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        info = "acme_tool-1.dist-info"
        wheel.writestr("acme_tool.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-tool\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                                        "Tag: py3-none-any\n")  # fmt: skip
        wheel.writestr(f"{info}/RECORD", "acme_tool.py,,\n")
    return path


@pytest.mark.interop
def test_pip_wants_the_digest_of_everything(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_bytes(_compile(_rules()).content("pip/pip.conf"))
    wheel = _wheel(tmp_path)
    required = tmp_path / "requirements.txt"
    digests = {"": False, f" --hash=sha256:{'00' * 32}": False,
               f" --hash=sha256:{_sha256(wheel)}": True}  # fmt: skip
    for digest, wanted in digests.items():
        required.write_text(f"acme-tool==1{digest}\n")
        done = _run(sys.executable, "-m", "pip", "install", "--no-index", "--find-links",
                    str(tmp_path), "--target", str(tmp_path / "out"), "-r", str(required),
                    PIP_CONFIG_FILE=str(config))  # fmt: skip
        assert (done.returncode == 0) is wanted, done.stderr.decode()


def test_npm_reads_its_settings(tmp_path: Path) -> None:
    _need("npm")
    config = tmp_path / "npmrc"
    compiled = _compile(_rules(), npm_registry="https://npm.example/")
    config.write_bytes(compiled.content("npm/npmrc"))
    for key, value in (("ignore-scripts", "true"), ("registry", "https://npm.example/")):
        done = _run("npm", "config", "get", key, "--globalconfig", str(config), HOME=str(tmp_path))
        assert done.stdout.decode().strip() == value, done.stderr.decode()
