"""Signing folders that are one piece of code: inside out, in a copy that takes their place.

Each program and library in a bundle is assessed like a file of its own when it is signed, and
the bundle as a whole before the copy takes the place of the original.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack

from signward.errors import NotSignableError
from signward.formats import Existing, Signable, tree_format
from signward.formats._bundle_layout import LIST, SIGNATURE_FOLDER, TICKET, Layout, find_layout
from signward.formats._bundle_sign import (
    Program,
    is_signed,
    main_program,
    nested_bundles,
    nested_code,
    planned,
)
from signward.state import Source
from signward.verbs.folders import told_of, write_into
from signward.wire.patch import Patched
from signward.wire.source import BytesSource
from signward.wire.tree import FolderTree

LIST_MODE = 0o644

SignOne = Callable[[Signable, Source], Source]
"""Signs one source."""


Check = Callable[[str, str], None]
"""Assesses a folder: where it is, and what it is called."""


class BundleSigning:
    """Signs everything in one folder, which must be a copy that nobody else reads.

    Nested code that somebody signed keeps its signature, unless ``existing`` says otherwise.
    ``names`` are the paths of what was signed inside.
    """

    def __init__(self, existing: Existing, sign: SignOne, check: Check) -> None:
        """``check`` raises for a signed folder that is not as it should be."""
        self._existing, self._sign, self._check = existing, sign, check
        self.names: list[str] = []

    def __call__(self, folder: str, name: str, prefix: str = "") -> None:
        """Sign the bundle in ``folder``.  Raises ``BadInputError`` and ``SigningError``."""
        with FolderTree(folder, name) as tree:
            layout = find_layout(tree)
            there = planned(tree, layout)
            inner = list(nested_bundles(tree, there))
            code = list(nested_code(tree, layout, there))
        for path in inner:
            if not self._keeps(os.path.join(folder, path)):  # noqa: PTH118 - strings
                self(os.path.join(folder, path), f"{name}/{path}", f"{prefix}{path}/")  # noqa: PTH118
                self.names.append(f"{prefix}{path}")
        for path in code:
            self._sign_file(folder, name, path, prefix)
        self._sign_main(folder, name, nested=bool(prefix))
        self._check(folder, name)

    def _keeps(self, folder: str) -> bool:
        if self._existing is not Existing.REFUSE:
            return False
        with FolderTree(folder) as tree:
            layout = find_layout(tree)
            return bool(layout.executable) and is_signed(tree.open(layout.executable))

    def _sign_file(self, folder: str, name: str, path: str, prefix: str) -> None:
        with FolderTree(folder, name) as tree:
            tree.entries()
            source = tree.open(path)
            if self._existing is Existing.REFUSE and is_signed(source):
                return
            form = Program({}, nested=True)
            write_into(folder, path, self._sign(form, self._bare(form, source)))
        self.names.append(f"{prefix}{path}")

    def _bare(self, form: Program, source: Source) -> Source:
        """Return nested code without what nobody signed: digests that are ad hoc."""
        if self._existing is not Existing.REFUSE or not form.envelopes(source):
            return source
        return Patched(source, form.embed(source, ()))

    def _sign_main(self, folder: str, name: str, *, nested: bool) -> None:
        with FolderTree(folder, name) as tree:
            layout = find_layout(tree)
            form, listing = main_program(tree, layout, nested=nested)
            source = tree.open(layout.executable)
            signed = self._sign(form, self._bare(form, source) if nested else source)
            write_into(folder, layout.executable, signed)
        write_into(folder, layout.base + LIST, BytesSource(LIST, listing), LIST_MODE)
        _drop_ticket(folder, layout)


def strip_bundle(folder: str, name: str) -> None:
    """Take a bundle's own signature out of a working copy: executable, list and ticket.

    Raises ``NotSignableError`` where there is none.
    """
    with FolderTree(folder, name) as tree:
        layout = find_layout(tree)
        program = Program({}, nested=False)
        source = tree.open(layout.executable)
        if not program.envelopes(source):
            raise NotSignableError(name, "no signature", "one to take away")
        write_into(folder, layout.executable, Patched(source, program.embed(source, ())))
    with told_of(name):
        shutil.rmtree(os.path.join(folder, layout.base + SIGNATURE_FOLDER), ignore_errors=True)  # noqa: PTH118
    _drop_ticket(folder, layout)


def _drop_ticket(folder: str, layout: Layout) -> None:
    """Take a stapled ticket away: it speaks of the code that was there before."""
    ticket = os.path.join(folder, layout.base + TICKET)  # noqa: PTH118 - strings, as everywhere
    if os.path.isfile(ticket) and not os.path.islink(ticket):  # noqa: PTH113, PTH114
        os.unlink(ticket)  # noqa: PTH108


def main_executable(path: str) -> str:
    """Return the path of a bundle's main executable, which has its signature.

    Raises ``NotSignableError`` for a bundle without code, ``BadInputError`` for one at fault.
    """
    with FolderTree(path) as tree:
        layout = find_layout(tree)
    if not layout.executable:
        raise NotSignableError(path, "a bundle without code", "a main executable")
    return os.path.join(path, layout.executable)  # noqa: PTH118 - strings, as everywhere in verbs


def is_bundle_folder(path: str) -> bool:
    """Say whether a path is a folder that some format claims as a whole."""
    if not os.path.isdir(path):  # noqa: PTH112
        return False
    with ExitStack() as stack:
        tree = stack.enter_context(FolderTree(path))
        return tree_format(tree) is not None
