"""What protects the payloads of one connection (WuKongIM v2.2), with as little work as can be.

Both sides agree on a key by X25519. Payloads are AES-128-CBC with one IV for the whole session, as
base64 text; a msgKey is the MD5 of the encrypted fields. That is weak by today's measure (64 bits
of key, no protection of the header) and fixed by the clients in the field.

Every message starts anew at the same IV, and making a cipher context costs far more than the
encryption of a short message. So a `SessionCipher` keeps one context for each direction and lets it
run on. CBC adds the previous ciphertext block to the next one; a block before each message, cut off
again behind it, makes the IV that previous block, as if the context were new:

    encrypting, D(IV) ⊕ last goes before:  E(D(IV) ⊕ last ⊕ last) = IV, then E(P₁ ⊕ IV)
    decrypting, IV goes before:            D(IV) ⊕ last is cut off, then D(C₁) ⊕ IV
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

try:
    # OpenSSL's, which hashlib prefers, takes twice as long for a few hundred bytes: most of it is
    # the making of contexts.
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:
    from hashlib import md5

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
MSG_KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 16
_SALT_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_to_base64: Final = b2a_base64
_from_base64: Final = a2b_base64
_md5: Final = md5
"""Names of this module for what each message calls: compiled code looks up all others."""
_PADDINGS: Final = [bytes([16 - excess]) * (16 - excess) for excess in range(16)]


class UnusableKey(ValueError):
    """A peer's public key is empty, not 32 bytes of base64, or a point that gives no secret."""


class UndecryptablePayload(ValueError):
    """A payload is not base64, not whole blocks, or wrongly padded."""


def salt_from(entropy: bytes) -> str:
    """The 16 letters and digits that are a session's IV, from 16 random bytes."""
    return "".join(_SALT_ALPHABET[octet % len(_SALT_ALPHABET)] for octet in entropy)


def padding_of(size: int) -> bytes:
    """The PKCS#7 padding behind `size` bytes."""
    return _PADDINGS[size % BLOCK_BYTES]


class KeyPair:
    """One side's X25519 keys of one connection."""

    __slots__ = ("_private", "public_text")

    def __init__(self, private_key: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private_key)
        public = self._private.public_key().public_bytes_raw()
        self.public_text = b2a_base64(public, newline=False).decode()

    def agree(self, peer_text: str, salt: str) -> SessionCipher:
        """The cipher shared with the peer whose base64 public key is `peer_text`."""
        try:
            peer = X25519PublicKey.from_public_bytes(a2b_base64(peer_text, strict_mode=True))
            shared = self._private.exchange(peer)
            initial_vector = salt.encode("ascii")
        except ValueError as error:
            raise UnusableKey(str(error)) from None
        if len(initial_vector) != SALT_BYTES:
            raise UnusableKey(f"the salt has {len(initial_vector)} characters instead of 16")
        digest = md5(b2a_base64(shared, newline=False), usedforsecurity=False)
        return SessionCipher(digest.hexdigest()[:16].encode(), initial_vector)


class SessionCipher:
    """Encrypts, decrypts and signs for one connection; contexts are made at their first use."""

    __slots__ = ("_before", "_decrypt_more", "_decrypted_iv", "_encrypt_more", "_iv", "_key")

    def __init__(self, key: bytes, initial_vector: bytes) -> None:
        self._key = key
        self._iv = initial_vector
        self._encrypt_more: Callable[[bytes], bytes] | None = None
        self._decrypt_more: Callable[[bytes], bytes] | None = None
        self._decrypted_iv = 0
        self._before = b""
        """The block before the next message to encrypt."""

    def encrypt_padded(self, plain: bytes) -> bytes:
        """`plain`, which is whole blocks with their padding, as base64 ciphertext."""
        more = self._encrypt_more or self._start_encrypting()
        ciphertext = more(self._before + plain)
        last = int.from_bytes(ciphertext[-16:], "big")
        self._before = (last ^ self._decrypted_iv).to_bytes(16, "big")
        return _to_base64(ciphertext[16:], newline=False)

    def _start_encrypting(self) -> Callable[[bytes], bytes]:
        cipher = Cipher(AES(self._key), CBC(bytes(BLOCK_BYTES)))
        self._before = cipher.decryptor().update(self._iv)
        self._decrypted_iv = int.from_bytes(self._before, "big")
        self._encrypt_more = cipher.encryptor().update
        return self._encrypt_more

    def encrypt(self, plain: bytes) -> bytes:
        """`plain` as base64 ciphertext."""
        return self.encrypt_padded(plain + _PADDINGS[len(plain) % 16])

    def decrypt(self, wire: bytes) -> bytes:
        """The plain bytes of base64 ciphertext; `UndecryptablePayload` if there are none."""
        try:
            ciphertext = _from_base64(wire, strict_mode=True)
        except Base64Error as error:
            raise UndecryptablePayload(str(error)) from None
        size = len(ciphertext)
        if size % 16 or not size:
            raise UndecryptablePayload(f"{size} bytes are not whole blocks")
        more = self._decrypt_more
        if more is None:
            cipher = Cipher(AES(self._key), CBC(self._iv))
            more = self._decrypt_more = cipher.decryptor().update
        plain = more(self._iv + ciphertext)
        padding = plain[-1]
        if not 1 <= padding <= 16 or not plain.endswith(_PADDINGS[16 - padding]):
            raise UndecryptablePayload("the padding is wrong")
        return plain[16:-padding]

    def msg_key(self, signed: bytes) -> bytes:
        """The 32 hex characters that sign the concatenated fields `signed`."""
        return self.msg_key_padded(signed + _PADDINGS[len(signed) % 16])

    def msg_key_padded(self, signed: bytes) -> bytes:
        """The same for fields that already have their padding."""
        digits: str = _md5(self.encrypt_padded(signed), usedforsecurity=False).hexdigest()
        return digits.encode()

    def verifies(self, msg_key: bytes, signed: bytes) -> bool:
        """Whether `msg_key` signs `signed`."""
        return compare_digest(msg_key, self.msg_key(signed))
