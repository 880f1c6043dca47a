"""Centrifugo: publishing over its HTTP API, and the tokens that its subscribers show.

What belongs here: the only importers of ``cent`` and ``jwt``. What must not: what is published, and
when.
"""

from libs.adapters.centrifugo.connection import Connection
from libs.adapters.centrifugo.publisher import Publisher
from libs.adapters.centrifugo.tokens import connection_token, subscription_token

__all__ = ["Connection", "Publisher", "connection_token", "subscription_token"]
