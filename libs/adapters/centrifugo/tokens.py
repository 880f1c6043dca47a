"""Tokens of subscribers: JSON web tokens signed with a secret that the server knows."""

from __future__ import annotations

from datetime import datetime, timedelta

import jwt
from pydantic import SecretStr

ALGORITHM = "HS256"


def sign_connection_token(secret: SecretStr, user: str, now: datetime, life: timedelta) -> str:
    """Return a token to connect as ``user`` until ``now + life``; it opens no channel."""
    return _signed(secret, {"sub": user}, now, life)


def sign_subscription_token(
    secret: SecretStr, user: str, channel: str, now: datetime, life: timedelta
) -> str:
    """Return a token for ``user`` to subscribe to exactly one channel until ``now + life``."""
    return _signed(secret, {"sub": user, "channel": channel}, now, life)


def _signed(secret: SecretStr, claims: dict[str, str], now: datetime, life: timedelta) -> str:
    times = {"iat": int(now.timestamp()), "exp": int((now + life).timestamp())}
    return jwt.encode({**claims, **times}, secret.get_secret_value(), algorithm=ALGORITHM)
