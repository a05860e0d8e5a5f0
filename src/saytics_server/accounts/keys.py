"""API keys and other random tokens: how they look, how they are made, what is stored of them.

A key is its class's prefix and 32 random characters. Only the SHA-256 of a secret key, a session
token or a set-up token is ever stored: with 190 random bits behind it, a plain hash cannot be
turned back, and it can be looked up, which a salted one could not.
"""

from __future__ import annotations

import re
import secrets
import string
from hashlib import sha256

KEY_PREFIXES = {"secret": "sk_live_", "write": "sk_write_"}
KEY_SCOPES = ("all", "send")

# 62 ** 32 is 190 bits: out of reach of any guessing, and one double click selects the whole key.
RANDOM_CHARACTERS = 32
# For keys that an operator chooses: 11 characters after the longest prefix is what one can still
# defend, and longer ones would not fit the settings pages or a header line.
KEY_MIN_CHARACTERS = 20
KEY_MAX_CHARACTERS = 200
# As much of a secret key as is shown again: class and four characters, to tell keys apart.
KEY_SHOWN_CHARACTERS = 12

_ALPHABET = string.ascii_letters + string.digits
_CHOSEN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def new_token() -> str:
    """Return 32 characters from the system's source of randomness."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARACTERS))


def new_key(key_class: str) -> str:
    """Return a new key of a class."""
    return KEY_PREFIXES[key_class] + new_token()


def digest(token: str) -> bytes:
    """Return what is stored of a key or token, and what it is looked up by."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def chosen_key_problem(key: str, key_class: str) -> str | None:
    """Tell what is wrong with a key that an operator chose, never repeating the key."""
    prefix = KEY_PREFIXES[key_class]
    if not key.startswith(prefix):
        return f"must start with {prefix}"
    if not KEY_MIN_CHARACTERS <= len(key) <= KEY_MAX_CHARACTERS:
        return f"must be {KEY_MIN_CHARACTERS} to {KEY_MAX_CHARACTERS} characters long"
    if not _CHOSEN_KEY.fullmatch(key):
        return "must consist of ASCII letters, digits, hyphens and underscores"
    return None
