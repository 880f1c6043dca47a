"""Server addresses, parsed so that no user name or password reaches a log or message."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server; ``url`` holds no credentials and has no trailing slash."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse ``http(s)://[user:password@]host[:port][/path]``.

        Raises ValueError for anything else; its text repeats no part of the address.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError:
            # Not chained: that text repeats the address.
            host, port, parts = "", None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ValueError("write the address of a server, http://HOST:PORT or https://HOST")
        netloc = f"[{host}]" if ":" in host else host
        netloc = f"{netloc}:{port}" if port else netloc
        url = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
        return cls(url, unquote(parts.username or ""), unquote(parts.password or ""))

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, or None if the address has neither."""
        return (self.user, self.password) if self.user or self.password else None
