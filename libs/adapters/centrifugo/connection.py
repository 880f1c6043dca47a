"""Address and secrets of a Centrifugo server: the fields of the block "Centrifugo"."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class Connection(BaseModel):
    """One Centrifugo server. The two secrets are shown by nothing that prints this."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        "http://localhost:8000/api",
        title="HTTP API",
        description="Address of the HTTP API, such as https://centrifugo.example/api.",
    )
    api_key: SecretStr = Field(
        title="API key", description="http_api.key of the server's configuration."
    )
    hmac_secret: SecretStr = Field(
        title="Token secret",
        description="client.token.hmac_secret_key of the server's configuration.",
    )
    websocket_url: str = Field(
        "",
        title="Websocket address",
        description="Where subscribers connect; by default /connection/websocket of the same host.",
    )
    timeout_seconds: float = Field(
        2.0, gt=0, le=30, description="Seconds that one publication waits for the server's answer."
    )
    token_seconds: int = Field(
        900, ge=30, le=86_400, description="How long a token is valid; clients ask for a new one."
    )

    @field_validator("url")
    @classmethod
    def _api(cls, value: str) -> str:
        parts = _checked(value, ("http", "https"))
        return urlunsplit((*parts[:2], parts.path.rstrip("/") or "/api", "", ""))

    @field_validator("websocket_url")
    @classmethod
    def _websocket(cls, value: str) -> str:
        return urlunsplit(_checked(value, ("ws", "wss"))) if value else ""

    @field_validator("api_key", "hmac_secret")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        # Other characters in a header raise an exception that shows the secret.
        if not text or not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
            raise ValueError("write printable ASCII characters without spaces")
        return value

    @property
    def subscribe_at(self) -> str:
        """Return the websocket address for subscribers."""
        if self.websocket_url:
            return self.websocket_url
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        return urlunsplit((scheme, parts.netloc, "/connection/websocket", "", ""))


def _checked(value: str, schemes: tuple[str, ...]) -> SplitResult:
    parts = urlsplit(value.strip())
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"write an address that begins with {' or '.join(schemes)}://")
    if parts.username or parts.password:
        raise ValueError("write no user or password in an address")
    return parts
