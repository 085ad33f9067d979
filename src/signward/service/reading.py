"""Bodies that are read as JSON: only what calls itself so, and errors that are the sender's."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.exceptions import ClientException, SerializationException

JSON = "application/json"


class JsonRequest(Request[Any, Any, Any]):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """Return the decoded body.

        Raises ``ClientException`` (415) where the body does not say that it is JSON: a web page
        may have a browser send any other type to us, with its user's client certificate and
        without asking.  Raises ``SerializationException`` (400) for what is no JSON.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise ClientException(f"a body that is not {JSON}", status_code=415)
        try:
            return await super().json()
        except (UnicodeDecodeError, RecursionError) as error:
            raise SerializationException(f"no JSON: {type(error).__name__}") from None
