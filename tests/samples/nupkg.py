"""NuGet packages to sign: for an author and for a repository, plain and streamed."""

from tests.builders.packages import package

SAMPLES = {
    "author.nupkg": package,
    "repository.nupkg": lambda: package(comment=b"kept"),
    "streamed.snupkg": lambda: package(streamed=True),
}
OPTIONS = {
    "repository.nupkg": {
        "options": {
            "type": "repository",
            "service-index": "https://packages.example/v3/index.json",
            "owners": "one;two",
        }
    }
}
BYTE_EXACT = True


def exempt(data: bytes) -> frozenset[int]:
    """Return the offsets of the signature's *version made by*, which nothing reads."""
    at = data.rindex(b".signature.p7s") - 46
    return frozenset({at + 4, at + 5})
