"""XML, read for signatures: no DTD, no entities, no network, bounded; and Canonical XML.

Sources: XML 1.0, Namespaces in XML 1.0, Canonical XML 1.0, Exclusive XML Canonicalization 1.0.
Parsing and canonical form are lxml's (the extra ``xml``), imported when first needed.  What
the tree says is read strictly: text with a comment inside is refused, because canonical form
leaves comments out and a reader that stops at one sees other text than was signed.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from signward.errors import AmbiguousError, ExtraMissingError, LimitError, MalformedError
from signward.frozen import Frozen

MAX_XML = 16 * 1024 * 1024
"""Octets of one document; a ClickOnce manifest of a thousand files has one MiB."""

MAX_MARKUP = 400_000
"""Tags, and attributes, of one document: a tree takes a hundred octets for each.

Depth is bounded by the parser: it ends at 256 levels."""

MAX_ATTRIBUTES = 1000
"""Attributes of one element: canonical form sorts them one by one, in quadratic time."""

MAX_NAMESPACES = 10_000
"""Namespace declarations of one document."""

MAX_IN_SCOPE = 32
"""Namespace declarations in force at one element, those that others hide included: canonical
form compares them with each other at every element.  Visual Studio's manifests have ten."""

C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
C14N_11 = "http://www.w3.org/2006/12/xml-c14n11"
"""Canonical XML 1.1: it differs where an element inherits ``xml:`` attributes; that is refused."""

WITH_COMMENTS = "WithComments"

_DECLARATION = re.compile(
    r"""<\?xml version=(["'])1\.0\1"""
    r"""( encoding=(["'])(utf-8|UTF-8|utf-16|UTF-16|us-ascii|US-ASCII)\3)?"""
    r"""( standalone=(["'])(yes|no)\6)?[ \t\r\n]*\?>"""
)
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_XML_NAMESPACE = "{http://www.w3.org/XML/1998/namespace}"
_SPACE = re.compile(r"[ \t\r\n]+")
_ID_NAMES = ("Id", "ID", "id", f"{_XML_NAMESPACE}id")


class Canonical(Frozen, frozen=True, kw_only=True):
    """A canonicalization method: which of the two, with comments or not, prefixes kept."""

    exclusive: bool = True
    comments: bool = False
    prefixes: tuple[str, ...] = ()


METHODS = {
    C14N: Canonical(exclusive=False),
    f"{C14N}#{WITH_COMMENTS}": Canonical(exclusive=False, comments=True),
    C14N_11: Canonical(exclusive=False),
    f"{C14N_11}#{WITH_COMMENTS}": Canonical(exclusive=False, comments=True),
    EXCLUSIVE_C14N: Canonical(),
    f"{EXCLUSIVE_C14N}{WITH_COMMENTS}": Canonical(comments=True),
}
"""Canonicalization methods by the URI that names them."""


def library(what: str) -> Any:
    """Return ``lxml.etree``.  Raises ``ExtraMissingError`` where it is not installed."""
    try:
        from lxml import etree
    except ImportError:
        raise ExtraMissingError(what, "lxml", "xml") from None
    return etree


def parse(data: bytes, what: str) -> Any:
    """Return the document as an ``lxml`` tree.

    Raises ``MalformedError`` for what is no well-formed XML 1.0 in UTF-8 or UTF-16 or has a
    DTD, ``LimitError`` beyond the bounds above, ``ExtraMissingError``.
    """
    etree = library(what)
    declarations = _check(data, what)
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, dtd_validation=False,
        huge_tree=False, recover=False, remove_comments=False, remove_pis=False,
    )  # fmt: skip
    try:
        if declarations > MAX_IN_SCOPE:
            _check_scopes(etree, data, what)
        tree = etree.fromstring(data, parser).getroottree()
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedError(what, f"XML that is none: {str(error)[:120]}", "well-formed XML",
                             "XML 1.0 2.1") from None  # fmt: skip
    if tree.docinfo.doctype:
        raise MalformedError(what, "a document type declaration", "none", "XML 1.0 2.8")
    if any(len(element.attrib) > MAX_ATTRIBUTES for element in tree.iter("*")):
        raise LimitError(what, "an element of more attributes", f"at most {MAX_ATTRIBUTES}")
    return tree


def _check_scopes(etree: Any, data: bytes, what: str) -> None:
    """Refuse a document with more namespaces in force somewhere than canonical form can bear."""
    events = etree.iterparse(
        io.BytesIO(data), events=("start-ns", "end-ns"), resolve_entities=False, load_dtd=False,
        no_network=True, huge_tree=False, recover=False,
    )  # fmt: skip
    in_scope = 0
    for event, _ in events:
        in_scope += 1 if event == "start-ns" else -1
        if in_scope > MAX_IN_SCOPE:
            raise LimitError(what, "more namespaces in force", f"at most {MAX_IN_SCOPE}")


def _check(data: bytes, what: str) -> int:
    """Check what can be checked before parsing; return how many namespaces are declared."""
    if len(data) > MAX_XML:
        raise LimitError(what, f"{len(data)} bytes of XML", f"at most {MAX_XML}")
    text = decoded(data, what)
    if "\0" in text:
        raise MalformedError(
            what, "a character of zero", "none", "XML 1.0 2.2",
            hint="a parser would guess UTF-16 or UTF-32, and see what these checks do not",
        )  # fmt: skip
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MalformedError(
            what, "a document type declaration", "none", "XML 1.0 2.8",
            hint="entities and defaults could say something else than was signed",
        )  # fmt: skip
    declaration = _DECLARATION.match(text)
    wide = data[:2] in _WIDE_MARKS
    if text.startswith("<?xml") and not (declaration and _is_true(declaration[4], wide=wide)):
        found = text.partition("?>")[0][:80]
        required = "version 1.0 in UTF-16" if wide else "version 1.0 in UTF-8"
        raise MalformedError(what, f"the declaration {found!r}", required, "XML 1.0 4.3.3")
    for mark, limit in (("<", MAX_MARKUP), ("=", MAX_MARKUP), ("xmlns", MAX_NAMESPACES)):
        if text.count(mark) > limit:
            raise LimitError(what, f"{text.count(mark)} times {mark!r}", f"at most {limit}")
    return text.count("xmlns")


def _is_true(encoding: str | None, *, wide: bool) -> bool:
    """Say whether a document is in the encoding it declares, as far as two are told apart."""
    return encoding is None or (encoding.lower() == "utf-16") is wide


def decoded(data: bytes, what: str) -> str:
    """Return the document's characters, without its byte order mark.  Raises ``MalformedError``."""
    codec = "utf-16" if data[:2] in _WIDE_MARKS else "utf-8-sig"
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise MalformedError(
            what, f"bytes that are no {codec}", "UTF-8 or UTF-16", "XML 1.0 4.3.3",
            offset=error.start,
        ) from None  # fmt: skip


def canonical(node: Any, method: Canonical, what: str) -> bytes:
    """Return the canonical form of a tree or of an element with all below it.

    Raises ``MalformedError`` where there is none (a relative namespace), and for inclusive
    form of an element that would inherit ``xml:`` attributes (Canonical XML 1.0 2.4).
    """
    etree = library(what)
    if not method.exclusive and etree.iselement(node) and _inherits(node):
        raise MalformedError(what, "xml: attributes above what is signed", "none",
                             "Canonical XML 1.0 2.4")  # fmt: skip
    try:
        octets: bytes = etree.tostring(
            alone(node) if etree.iselement(node) else node,
            method="c14n", exclusive=method.exclusive, with_comments=method.comments,
            inclusive_ns_prefixes=list(method.prefixes) if method.exclusive else None,
        )  # fmt: skip
    except (etree.LxmlError, ValueError) as error:
        raise MalformedError(what, f"no canonical form: {str(error)[:80]}", "one",
                             "Canonical XML 1.0 1.3") from None  # fmt: skip
    return octets


def _inherits(element: Any) -> bool:
    return any(
        name.startswith(_XML_NAMESPACE) and name not in element.attrib
        for above in element.iterancestors()
        for name in above.attrib
    )


def without(element: Any) -> Any:
    """Return a copy of an element's document that lacks the element (text behind it stays)."""
    from copy import deepcopy

    steps = [element.getparent().index(element)]
    steps += [above.getparent().index(above) for above in element.iterancestors()
              if above.getparent() is not None]  # fmt: skip
    copied = deepcopy(element.getroottree())
    found = copied.getroot()
    for step in reversed(steps):
        found = found[step]
    _detach(found)
    return copied


def alone(element: Any) -> Any:
    """Return a document of its own that holds a copy of an element.

    All namespaces in its scope are declared on it, whether used or not: inclusive canonical
    form shows them (Canonical XML 1.0 2.4).  Written and read again, because ``lxml``'s own
    inclusive form of an element inside a document undeclares the default namespace below it.
    """
    etree = library("XML")
    return etree.fromstring(etree.tostring(element, with_tail=False)).getroottree()


def _detach(element: Any) -> None:
    parent, before, tail = element.getparent(), element.getprevious(), element.tail or ""
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    parent.remove(element)


def elements(parent: Any, what: str) -> list[Any]:
    """Return the children of an element that holds elements and white space alone.

    Raises ``MalformedError`` for text, comments and processing instructions between them.
    """
    children = list(parent)
    between = [parent.text, *(child.tail for child in children)]
    if any(not isinstance(child.tag, str) for child in children) or any(
        text and text.strip(" \t\r\n") for text in between
    ):
        raise MalformedError(what, f"text or a comment in {local(parent)}", "elements alone")
    return children


def text(element: Any, what: str) -> str:
    """Return the text of an element that holds nothing else.

    Raises ``MalformedError`` for elements and comments inside: what stands behind a comment
    is signed, and some readers do not see it.
    """
    if len(element):
        raise MalformedError(what, f"an element or a comment in {local(element)}", "text alone")
    return element.text or ""


def octets(element: Any, what: str) -> bytes:
    """Return the octets that an element's text is the base64 of; white space may stand between."""
    encoded = _SPACE.sub("", text(element, what))
    try:
        value = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError):
        raise MalformedError(what, f"text in {local(element)}", "base64", "RFC 4648 4") from None
    if base64.b64encode(value).decode() != encoded:
        raise MalformedError(what, "bits behind the last octet", "zeros", "RFC 4648 3.5")
    return value


def attributes(element: Any, allowed: Sequence[str], what: str) -> dict[str, str]:
    """Return an element's attributes.  Raises ``MalformedError`` for one that is not allowed."""
    found = dict(element.attrib)
    extra = sorted(found.keys() - set(allowed))
    if extra:
        raise MalformedError(what, f"attribute {extra[0][:80]} in {local(element)}",
                             f"only {', '.join(allowed) or 'none'}")  # fmt: skip
    return found


def local(element: Any) -> str:
    """Return an element's name without its namespace, for messages."""
    tag = element.tag
    return tag.rpartition("}")[2][:80] if isinstance(tag, str) else "a comment"


Identified = Mapping[str, Sequence[Any]]
"""Elements by their identifiers."""


def identified(tree: Any) -> Identified:
    """Return every element that some reader takes an identifier of, by identifier."""
    found: dict[str, list[Any]] = {}
    for element in tree.getroot().iter("*"):
        if element.attrib:
            for value in {element.get(name) for name in _ID_NAMES} - {None}:
                found.setdefault(value, []).append(element)
    return found


def by_id(elements: Identified, value: str, what: str) -> Any:
    """Return the one element whose identifier is ``value``.

    Whatever attribute some reader takes for an identifier counts, so that none of them finds
    another element.  Raises ``MalformedError`` for none, ``AmbiguousError`` for several.
    """
    found = elements.get(value, ())
    if not found:
        raise MalformedError(what, f"a reference to #{value[:80]}", "the identifier of an element")
    if len(found) > 1:
        raise AmbiguousError(
            what, f"{len(found)} elements identified by {value[:80]!r}", "one",
            hint="a signed element was moved, and another put in its place",
        )  # fmt: skip
    return found[0]
