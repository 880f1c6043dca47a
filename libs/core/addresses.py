"""Addresses of servers: taken apart so that a user and a password never go where people read."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address; ``url`` holds no credentials and does not end in a slash."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take ``http(s)://[user:password@]host[:port][/path]`` apart.

        Raises ValueError for anything else; its text repeats nothing of the address.
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
        """User and password, or None where the address has neither."""
        return (self.user, self.password) if self.user or self.password else None
