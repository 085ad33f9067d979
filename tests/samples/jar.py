"""Java archives to sign: plain, multi-release with other sections, and without a manifest."""

import zipfile

from signward.wire.source import BytesSource
from signward.wire.zip import place, read_directory
from tests.builders import jars

SAMPLES = {
    "plain.jar": jars.archive,
    "release.jar": lambda: jars.archive(jars.MULTI_RELEASE, method=zipfile.ZIP_STORED),
    "bare.war": lambda: jars.archive({"index.html": b"<p>", "WEB-INF/web.xml": b"<web-app/>"}),
}


def exempt(data: bytes) -> frozenset[int]:
    """Return offsets that no signature of a JAR covers.

    Each member's versions, flags, time, disk and attributes; what deflate leaves open: the bits
    behind its last code; and what deflate makes of a folder's content, which is none.
    """
    source, found = BytesSource("x", data), set[int]()
    for member in read_directory(source).members:
        found.update(member.local + at for at in (*range(4, 8), *range(10, 14)))
        found.update(member.record + at for at in (*range(4, 10), *range(12, 16), *range(34, 42)))
        where = place(source, member)
        if member.method:
            found.add(where.data_end - 1)
        if member.directory:
            found.update(range(where.data, where.data_end))
    return frozenset(found)
