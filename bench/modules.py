"""Measure kernel modules: how fast they are verified, beside an ``openssl cms`` process each."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from demo.fetch import CorpusMissingError, require

from bench.measure import NotMeasuredError, Row, medians
from signward.wire.kernel_image import certificates_in
from signward.wire.module_trailer import read_trailer
from signward.wire.source import BytesSource

STRIDE = 20
"""Every so many modules go to the peer, which takes some 10 ms for each."""


def against_openssl(rounds: int) -> list[Row]:
    """Compare with ``openssl cms -verify``, which is handed content and message already apart."""
    if shutil.which("openssl") is None:
        raise NotMeasuredError("openssl is not installed")
    try:
        tree = require("linux-image")
    except CorpusMissingError as error:
        raise NotMeasuredError(str(error)) from None
    from signward.state import Outcome
    from signward.verbs.context import Context
    from signward.verbs.options import Options
    from signward.verbs.verify import assess_path

    (image,) = tree.glob("boot/vmlinuz-*")
    modules = sorted(tree.rglob("*.ko"))[::STRIDE]
    context = Context(Options(anchors=(str(image),)))

    def ours() -> None:
        for path in modules:
            if assess_path(path, context).outcome is not Outcome.ACCEPTED:
                raise NotMeasuredError(f"{path.name} is not accepted")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "signer.der").write_bytes(certificates_in(image.read_bytes())[0])
        commands = [_command(path, folder) for path in modules]

        def theirs() -> None:
            for command in commands:
                subprocess.run(command, check=True, capture_output=True)

        ours()  # what is compiled into the kernel is found once
        mine, peer = medians(rounds, ours, theirs)
    octets = sum(path.stat().st_size for path in modules)
    figure = (
        f"{peer.wall / mine.wall:.1f}x ({len(modules) / mine.wall:.0f} and "
        f"{len(modules) / peer.wall:.0f} files/s)"
    )
    how = (
        f"{len(modules)} modules of Debian, {octets / 1e6:.0f} MB, RSA-4096, warm; assess_path in "
        "one process with a keyring; a process of openssl for each"
    )
    return [Row("kernel modules, ratio to `openssl cms -verify`", figure, "", how)]


def _command(path: Path, folder: Path) -> list[str]:
    """Return what has OpenSSL verify one module, its content and message put into files."""
    data = path.read_bytes()
    trailer = read_trailer(BytesSource(path.name, data))
    if trailer is None:
        raise NotMeasuredError(f"{path.name} is not signed")
    content, message = folder / f"{path.name}.content", folder / f"{path.name}.p7s"
    content.write_bytes(data[: trailer.start])
    message.write_bytes(data[trailer.start : trailer.end])
    return ["openssl", "cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in",
            str(message), "-content", str(content), "-certfile", str(folder / "signer.der"),
            "-out", "/dev/null"]  # fmt: skip
