"""Opening a private key that `cosign generate-key-pair` wrote: scrypt and NaCl's secretbox in a PEM block.

No library of the lock has secretbox, which is XSalsa20 and Poly1305. Poly1305 is cryptography's; the stream cipher is
written out here from its specification (https://cr.yp.to/snuffle/xsalsa-20081128.pdf), for decrypting some hundred
bytes once. The authenticator is checked first, so a wrong password or an altered file is always noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

_BLOCK = re.compile(
    rb"-----BEGIN ENCRYPTED (COSIGN|SIGSTORE) PRIVATE KEY-----(.+?)-----END ENCRYPTED \1 PRIVATE KEY-----", re.DOTALL
)
_MOST_WORK = 2**20
"""Of scrypt's N: cosign takes 2**16, and a file that asks for gigabytes of memory is no key."""
_WORD = 0xFFFFFFFF
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
_TAG = 16
_Words = list[int]


def is_encrypted(content: bytes) -> bool:
    """Whether a file holds a private key as cosign encrypts it."""
    return _BLOCK.search(content) is not None


def decrypted(content: bytes, password: bytes) -> bytes:
    """The private key in PKCS8's DER form.

    Raises:
        ValueError: if the password does not open it, or it is no such key.
        KeyError: if something is missing from it.
    """
    match = _BLOCK.search(content)
    if match is None:
        raise ValueError("no encrypted key of cosign")
    document = json.loads(base64.b64decode(b"".join(match[2].split()), validate=True))
    kdf, cipher = document["kdf"], document["cipher"]
    if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
        raise ValueError("encrypted in another way than cosign does")
    work, size, lanes = (int(kdf["params"][name]) for name in ("N", "r", "p"))
    if not 1 < work <= _MOST_WORK or size > 8 or lanes > 1:
        raise ValueError("asks for more work than cosign does")
    salt, nonce, box = (_bytes(text) for text in (kdf["salt"], cipher["nonce"], document["ciphertext"]))
    memory = 256 * work * size
    key = hashlib.scrypt(password, salt=salt, n=work, r=size, p=lanes, dklen=32, maxmem=memory)
    return open_box(box, nonce, key)


def open_box(box: bytes, nonce: bytes, key: bytes) -> bytes:
    """What is in a secretbox.

    Raises:
        ValueError: if the key does not open it, or it was altered.
    """
    if len(nonce) != 24 or len(key) != 32 or len(box) < _TAG:
        raise ValueError("no secretbox")
    tag, sealed = box[:_TAG], box[_TAG:]
    stream = keystream(key, nonce, 32 + len(sealed))
    try:
        Poly1305.verify_tag(stream[:32], sealed, tag)
    except InvalidSignature:
        raise ValueError("another key, or altered") from None
    return bytes(one ^ other for one, other in zip(sealed, stream[32:], strict=True))


def keystream(key: bytes, nonce: bytes, length: int) -> bytes:
    """The beginning of XSalsa20's stream."""
    words = _mixed(_state(key, nonce[:16]))
    subkey = struct.pack("<8I", *(words[place] for place in (0, 5, 10, 15, 6, 7, 8, 9)))
    blocks = (_block(_state(subkey, nonce[16:] + struct.pack("<Q", number))) for number in range(-(-length // 64)))
    return b"".join(blocks)[:length]


def _state(key: bytes, rest: bytes) -> _Words:
    k, n, c = struct.unpack("<8I", key), struct.unpack("<4I", rest), _CONSTANTS
    return [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]


def _block(state: _Words) -> bytes:
    sums = ((one + other) & _WORD for one, other in zip(state, _mixed(state), strict=True))
    return struct.pack("<16I", *sums)


def _mixed(state: _Words) -> _Words:
    """Salsa20's twenty rounds, without the final addition."""
    x = list(state)
    for _ in range(10):
        for column in ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)):
            _quarter(x, *column)
        for row in ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)):
            _quarter(x, *row)
    return x


def _quarter(x: _Words, a: int, b: int, c: int, d: int) -> None:
    x[b] ^= _turned(x[a] + x[d], 7)
    x[c] ^= _turned(x[b] + x[a], 9)
    x[d] ^= _turned(x[c] + x[b], 13)
    x[a] ^= _turned(x[d] + x[c], 18)


def _turned(value: int, by: int) -> int:
    value &= _WORD
    return ((value << by) | (value >> (32 - by))) & _WORD


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
