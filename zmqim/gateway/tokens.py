"""Login tokens: kept as a salted hash, compared in constant time.

Tokens are random, so the hash may be fast: it only keeps a stolen disk from being a list of logins.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import Final

SALT_BYTES: Final = 16


def token_hash(salt: bytes, token: str) -> bytes:
    """BLAKE2b-256 of salt and token, as `chat.operations.SetToken` stores it."""
    return blake2b(salt + token.encode(), digest_size=32).digest()


def token_is_right(token: str, salt: bytes, stored: bytes) -> bool:
    """Whether `token` is the one that was stored; an empty salt means that none was."""
    return bool(salt) and bool(token) and compare_digest(token_hash(salt, token), stored)
