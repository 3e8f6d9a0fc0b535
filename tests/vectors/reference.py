#!/usr/bin/env python3
"""A second implementation of Linkgate's token, written from docs/token.md alone.

    python3 reference.py generate    write good.json and refused.json beside this file
    python3 reference.py check       verify every vector; exit 1 on any disagreement

Needs Python 3.9 or newer and the `cryptography` package (for AES only). Everything is deterministic: the
secrets and token ids are hashes of fixed strings. Real secrets and token ids are random.
"""
from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import struct
import sys
import unicodedata
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

HERE = Path(__file__).resolve().parent

VERSION = 1
MAX_CHARACTERS = 2048
MIN_BYTES = 38
ID_BYTES = 16
TAG_BYTES = 16
HEADER_BYTES = 1 + 4 + ID_BYTES
NOT_BEFORE_LEEWAY_MS = 30_000
USUAL_LEEWAY_MS = 15_000  # how far a clock may be from the true time, where a vector says nothing
LAST_MS = 253_402_300_799_999  # the end of the year 9999

CLAIM_KEYS = {
    "client": 1, "subject": 2, "expires_at": 4, "not_before": 5, "issued_at": 6,
    "path": -1, "file_name": -2, "disposition": -3, "content_type": -4,
    "networks": -5, "max_downloads": -6, "rate_limit": -7,
}
REQUIRED = ("client", "expires_at", "issued_at", "path")
DISPOSITIONS = ("attachment", "inline")
REFUSALS = (
    "too-long", "not-base64url", "too-short", "unknown-version", "unknown-key", "retired-key",
    "bad-signature", "claims-encoding", "claims-unknown", "claims-value", "claims-missing",
    "lifetime-too-long", "issued-in-the-future", "not-yet-valid", "outside-networks", "expired",
)


def main() -> int:
    """Run the command named on the command line."""
    commands = {"generate": generate, "check": check}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[sys.argv[1]]()


def generate() -> int:
    """Write both files of vectors."""
    for name, content in all_files().items():
        (HERE / name).write_bytes(content)
        print(f"wrote {name}")
    return 0


def check() -> int:
    """Verify the committed vectors, and that generating them again changes nothing."""
    good, refused = (json.loads((HERE / name).read_bytes()) for name in ("good.json", "refused.json"))
    problems = [problem_with_good(good["keys"], vector) for vector in good["vectors"]]
    problems += [problem_with_refused(refused["keys"], vector) for vector in refused["vectors"]]
    passed = problems.count(None)
    problems += problems_with_files(good["vectors"], refused["vectors"])
    failures = [problem for problem in problems if problem]
    for failure in failures:
        print(failure)
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


def problem_with_good(keys: list, vector: dict) -> str | None:
    """What is wrong with a vector that must be accepted, and must be minted from its claims again."""
    try:
        found = verify_vector(keys, vector)
    except Refused as refusal:
        return f"{vector['name']}: refused as {refusal}"
    wrong = [field for field, value in found.items() if vector[field] != value]
    if wrong:
        return f"{vector['name']}: different {', '.join(wrong)}"
    secret = next(bytes.fromhex(key["secret_hex"]) for key in keys if key["id"] == vector["key_id"])
    token_id = from_base64url(vector["token_id"])
    if vector.get("stable") and stable_id(vector["claims"], secret, vector["collection"]) != token_id:
        return f"{vector['name']}: another id follows from its claims"
    minted = mint(vector["claims"], token_id, vector["key_id"], secret, vector["collection"])
    return None if minted == vector["token"] else f"{vector['name']}: minted differently"


def problem_with_refused(keys: list, vector: dict) -> str | None:
    """What is wrong with a vector that must be refused."""
    try:
        verify_vector(keys, vector)
    except Refused as refusal:
        word = str(refusal)
        return None if word == vector["expect"] else f"{vector['name']}: {word} instead of {vector['expect']}"
    return f"{vector['name']}: accepted"


def problems_with_files(good: list, refused: list) -> list:
    """What is wrong with the files as a whole: stale, a name used twice, a refusal never shown."""
    problems = [f"{name}: generating it again gives other bytes"
                for name, content in all_files().items() if (HERE / name).read_bytes() != content]
    names = [vector["name"] for vector in good + refused]
    problems += [f"{name}: used twice" for name in sorted(set(names)) if names.count(name) > 1]
    shown = {vector["expect"] for vector in refused}
    problems += [f"{word}: no vector" for word in REFUSALS if word not in shown]
    return problems


# --- Verifying ---------------------------------------------------------------------------------------------


class Refused(Exception):
    """A token was refused; the message is the refusal word."""


def require(condition: bool, refusal: str) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(refusal)


def verify_vector(keys: list, vector: dict) -> dict:
    """Verify a vector's token in its context."""
    return verify(vector["token"], keys, vector["collection"], vector["max_ttl_ms"], vector["dotfiles"],
                  vector["now_ms"], vector["client_address"], vector.get("leeway_ms", USUAL_LEEWAY_MS))


def verify(text: str, keys: list, collection: str, max_ttl_ms: int, dotfiles: bool,
           now_ms: int, client_address: str | None, leeway_ms: int = USUAL_LEEWAY_MS) -> dict:
    """Steps 1 to 16 of the specification, in its order; returns what the token says."""
    require(len(text) <= MAX_CHARACTERS, "too-long")
    token = from_base64url(text)
    require(len(token) >= MIN_BYTES, "too-short")
    key_id, token_id, plain = open_frame(token, keys, collection)
    claims = decode_claims(plain, dotfiles)
    require(all(name in claims for name in REQUIRED), "claims-missing")
    check_times_and_place(claims, max_ttl_ms, now_ms, client_address, leeway_ms)
    return {"token_id": to_base64url(token_id), "key_id": key_id, "claims": claims,
            "plain_claims_hex": plain.hex()}


def open_frame(token: bytes, keys: list, collection: str) -> tuple:
    """Steps 4 to 7: find the key, check the tag, unseal the claims."""
    require(token[0] == VERSION, "unknown-version")
    key_id = int.from_bytes(token[1:5], "big")
    key = next((key for key in keys if key["id"] == key_id), None)
    require(key is not None, "unknown-key")
    require(key["state"] in ("active", "verifying"), "retired-key")
    secret = bytes.fromhex(key["secret_hex"])
    body, tag = token[:-TAG_BYTES], token[-TAG_BYTES:]
    require(hmac.compare_digest(tag, full_tag(mac_key(secret), collection, body)[:TAG_BYTES]), "bad-signature")
    token_id = body[5:HEADER_BYTES]
    return key_id, token_id, aes_ctr(seal_key(secret), token_id, body[HEADER_BYTES:])


def decode_claims(plain: bytes, dotfiles: bool) -> dict:
    """Steps 8 to 10, pair by pair."""
    names = {encode(key): name for name, key in CLAIM_KEYS.items()}
    major, count, position = read_head(plain, 0)
    require(major == MAP, "claims-encoding")
    claims, previous = {}, b""
    for _ in range(count):
        start = position
        _, position = read_item(plain, start)
        key = plain[start:position]
        require(key > previous, "claims-encoding")
        require(key in names, "claims-unknown")
        value, position = read_item(plain, position)
        require(in_range(names[key], value, dotfiles), "claims-value")
        claims[names[key]] = from_wire(names[key], value)
        previous = key
    require(position == len(plain), "claims-encoding")
    return claims


def in_range(name: str, value, dotfiles: bool) -> bool:
    """Step 10: is the value of its claim's type and in its range?"""
    if name in ("expires_at", "not_before", "issued_at"):
        return is_unsigned(value, 0, LAST_MS)
    if name == "disposition":
        return is_unsigned(value, 0, 1)
    if name == "max_downloads":
        return is_unsigned(value, 1, 1_000_000)
    if name == "rate_limit":
        return is_unsigned(value, 1, 2**64 - 1)
    if name == "networks":
        return isinstance(value, bytes) and unpack_networks(value) is not None
    if not isinstance(value, str):
        return False
    if name == "client":
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value) is not None
    if name == "subject":
        return has_bytes(value, 128) and not has_control(value)
    if name == "path":
        return has_bytes(value, 1024) and is_path(value, dotfiles)
    if name == "file_name":
        return has_bytes(value, 255) and is_file_name(value)
    return has_bytes(value, 127) and is_media_type(value)


def is_unsigned(value, least: int, most: int) -> bool:
    """Is it an integer between the two, both included?"""
    return isinstance(value, int) and least <= value <= most


def has_bytes(text: str, most: int) -> bool:
    """Is it 1 to `most` bytes of UTF-8?"""
    return 1 <= len(text.encode()) <= most


def has_control(text: str) -> bool:
    """Does it hold a character of Unicode's category Cc?"""
    return any(unicodedata.category(character) == "Cc" for character in text)


def is_path(text: str, dotfiles: bool) -> bool:
    """Empty segments cover a leading, a trailing and a doubled slash."""
    segments = text.split("/")
    if has_control(text) or "\\" in text or any(segment in ("", ".", "..") for segment in segments):
        return False
    return dotfiles or not any(segment.startswith(".") for segment in segments)


def is_file_name(text: str) -> bool:
    """One name, and nothing that turns the direction of writing around."""
    return not has_control(text) and text not in (".", "..") and not re.search(
        "[/\\\\\u202a-\u202e\u2066-\u2069]", text)


def is_media_type(text: str) -> bool:
    """type/subtype, perhaps with parameters (RFC 9110 section 8.3.1)."""
    token = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
    return re.fullmatch(rf'{token}/{token}([ \t]*;[ \t]*{token}=({token}|"[^"\\\x00-\x1f\x7f-\U0010ffff]*"))*',
                        text) is not None


def check_times_and_place(claims: dict, max_ttl_ms: int, now_ms: int, client_address: str | None,
                          leeway_ms: int) -> None:
    """Steps 12 to 16."""
    require(claims["expires_at"] - claims["issued_at"] <= max_ttl_ms, "lifetime-too-long")
    require(claims["issued_at"] <= now_ms + 2 * leeway_ms, "issued-in-the-future")
    require(claims.get("not_before", 0) <= now_ms + NOT_BEFORE_LEEWAY_MS, "not-yet-valid")
    if "networks" in claims:
        require(is_inside(client_address, claims["networks"]), "outside-networks")
    require(now_ms < claims["expires_at"], "expired")


def is_inside(client_address: str | None, networks: list) -> bool:
    """An IPv4-mapped IPv6 address counts as the IPv4 address it carries; no address is inside nothing."""
    if client_address is None:
        return False
    address = ipaddress.ip_address(client_address)
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(network) for network in networks)


# --- Minting -----------------------------------------------------------------------------------------------


def mint(claims: dict, token_id: bytes, key_id: int, secret: bytes, collection: str) -> str:
    """A token in its text form. The claims are not checked here."""
    return to_base64url(build_frame(encode_claims(claims), token_id, key_id, secret, collection))


def build_frame(plain: bytes, token_id: bytes, key_id: int, secret: bytes, collection: str,
                version: int = VERSION) -> bytes:
    """Header, sealed claims and tag."""
    body = header(version, key_id, token_id) + aes_ctr(seal_key(secret), token_id, plain)
    return body + full_tag(mac_key(secret), collection, body)[:TAG_BYTES]


def header(version: int, key_id: int, token_id: bytes) -> bytes:
    """The 21 bytes before the sealed claims."""
    return struct.pack(">BI", version, key_id) + token_id


def encode_claims(claims: dict) -> bytes:
    """A map with its keys in ascending encoded order. A name that is no claim's is taken as the key itself."""
    pairs = [(encode(CLAIM_KEYS.get(name, name)), encode(to_wire(name, value))) for name, value in claims.items()]
    return encode_pairs(sorted(pairs))


def to_wire(name, value):
    """A claim as JSON says it, as CBOR says it."""
    if name == "networks" and isinstance(value, list):
        return pack_networks(value)
    if name == "disposition" and isinstance(value, str):
        return DISPOSITIONS.index(value)
    return value


def from_wire(name: str, value):
    """The reverse of to_wire, for a value in its range."""
    if name == "networks":
        return unpack_networks(value)
    return DISPOSITIONS[value] if name == "disposition" else value


def pack_networks(networks: list) -> bytes:
    """Prefix length, address length and address of each."""
    parsed = [ipaddress.ip_network(network) for network in networks]
    return b"".join(pack_network(network.network_address.packed, network.prefixlen) for network in parsed)


def pack_network(address: bytes, prefix: int) -> bytes:
    """One network, right or wrong."""
    return bytes([prefix, len(address)]) + address


def unpack_networks(data: bytes) -> list | None:
    """The networks as text, or None when they break a rule."""
    networks, position = [], 0
    while position < len(data):
        prefix, length = data[position], data[position + 1] if position + 1 < len(data) else 0
        address = data[position + 2:position + 2 + length]
        if length not in (4, 16) or len(address) != length:
            return None
        try:
            networks.append(str(ipaddress.ip_network((address, prefix))))
        except ValueError:  # host bits, or a prefix longer than the address
            return None
        position += 2 + length
    return networks if 1 <= len(networks) <= 16 else None


# --- Cryptography and text form ----------------------------------------------------------------------------


def mac_key(secret: bytes) -> bytes:
    """The key of the tags."""
    return hkdf(secret, b"linkgate/v1/mac")


def seal_key(secret: bytes) -> bytes:
    """The key of the claims."""
    return hkdf(secret, b"linkgate/v1/seal")


def hkdf(secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 without salt; 32 bytes are exactly one block of its output."""
    return hmac_sha256(hmac_sha256(bytes(32), secret), info + b"\x01")


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC with SHA-256."""
    return hmac.new(key, message, hashlib.sha256).digest()


def full_tag(key: bytes, collection: str, body: bytes) -> bytes:
    """All 32 bytes of the tag; a token holds the first 16."""
    name = collection.encode()
    return hmac_sha256(key, b"linkgate/v1\x00" + bytes([len(name)]) + name + body)


def stable_id(claims: dict, secret: bytes, collection: str) -> bytes:
    """The id of a stable link: framed like a tag, over the claims, with a key of its own."""
    return full_tag(hkdf(secret, b"linkgate/v1/id"), collection, encode_claims(claims))[:ID_BYTES]


def aes_ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    """AES-256-CTR, which seals and unseals; the whole counter block counts."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def to_base64url(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The reverse, for canonical text only."""
    require(re.fullmatch(r"[A-Za-z0-9_-]*", text) is not None and len(text) % 4 != 1, "not-base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    require(to_base64url(data) == text, "not-base64url")
    return data


# --- CBOR, as much as a token needs ------------------------------------------------------------------------

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP = range(6)
OTHER = object()  # any value that no claim can have


class Raw(bytes):
    """Bytes that are CBOR already."""


def encode(item) -> bytes:
    """An integer, a byte string or a text."""
    if isinstance(item, Raw):
        return bytes(item)
    if isinstance(item, int):
        return head(UNSIGNED, item) if item >= 0 else head(NEGATIVE, -1 - item)
    if isinstance(item, bytes):
        return head(BYTES, len(item)) + item
    return head(TEXT, len(item.encode())) + item.encode()


def encode_pairs(pairs: list) -> bytes:
    """A map of encoded pairs, in the order given."""
    return head(MAP, len(pairs)) + b"".join(key + value for key, value in pairs)


def head(major: int, number: int) -> bytes:
    """A major type with its number, as short as possible."""
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in range(4) if number < 1 << (8 << size))
    return bytes([major << 5 | 24 + size]) + number.to_bytes(1 << size, "big")


def read_head(data: bytes, position: int) -> tuple:
    """Major type, number and the position after them."""
    require(position < len(data), "claims-encoding")
    major, short = data[position] >> 5, data[position] & 31
    position += 1
    if short < 24:
        return major, short, position
    require(short <= 27, "claims-encoding")
    end = position + (1 << short - 24)
    require(end <= len(data), "claims-encoding")
    number = int.from_bytes(data[position:end], "big")
    is_float = major == 7
    require(is_float or len(head(major, number)) == 1 + end - position, "claims-encoding")
    return major, number, end


def read_item(data: bytes, position: int) -> tuple:
    """An item and the position after it. Of an OTHER only the head is read: the token is refused anyway."""
    major, number, position = read_head(data, position)
    if major in (UNSIGNED, NEGATIVE):
        return (number if major == UNSIGNED else -1 - number), position
    if major not in (BYTES, TEXT):
        return OTHER, position
    end = position + number
    require(end <= len(data), "claims-encoding")
    content = data[position:end]
    try:
        return (content if major == BYTES else content.decode()), end
    except UnicodeDecodeError:
        return OTHER, end


# --- The vectors -------------------------------------------------------------------------------------------

SECOND, DAY = 1_000, 86_400_000
NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
LONG_KEY = 4_294_967_295
SECRETS = {
    **{number: hashlib.sha256(b"linkgate test vector key %d" % number).digest() for number in (7, 8, 9)},
    LONG_KEY: hashlib.sha512(b"linkgate test vector key %d" % LONG_KEY).digest(),
}
STATES = {7: "active", 8: "verifying", 9: "retired", LONG_KEY: "verifying"}
CONTEXT = {"collection": "image", "max_ttl_ms": DAY, "dotfiles": False, "now_ms": NOW, "client_address": None}
CLAIMS = {"client": "shop", "expires_at": NOW + 600 * SECOND, "issued_at": NOW - SECOND, "path": "2026/01/cats.jpg"}
LONG_PATH = "漢字🎉é/" * 78 + "photo1.jpg"  # 1024 bytes
SIXTEEN_NETWORKS = [f"198.51.100.{number}/32" for number in range(16)]
# With a file name of 211 bytes these make a token of exactly 2048 characters.
LONG_CLAIMS = {**CLAIMS, "path": LONG_PATH, "subject": "é" * 64, "networks": SIXTEEN_NETWORKS}
LONGEST_FILE_NAME = 211


def all_files() -> dict:
    """Both files by name."""
    return {
        "good.json": to_file("Tokens that must be accepted, each in its context. The claims are as the token "
                             "says them; times are milliseconds.", good_vectors()),
        "refused.json": to_file("Tokens that must be refused, each with its refusal word from docs/token.md.",
                                refused_vectors()),
    }


def to_file(description: str, vectors: list) -> bytes:
    """One file of vectors."""
    keys = [{"id": number, "state": STATES[number], "secret_hex": secret.hex()}
            for number, secret in SECRETS.items()]
    content = {"description": description, "keys": keys, "vectors": vectors}
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def test_id(name: str) -> bytes:
    """The token id of the vector with this name."""
    return hashlib.sha256(b"linkgate test vector id " + name.encode()).digest()[:ID_BYTES]


# --- The good ones -----------------------------------------------------------------------------------------


def good_vectors() -> list:
    """Everything that must be accepted; the minimal one comes first."""
    return [good("minimal", "only the four required claims"), *good_single_claims(), *good_texts(),
            *good_times(), *good_networks(), *good_keys_and_counters(), *good_stable()]


def good(name: str, why: str, claims: dict | None = None, key_id: int = 7, token_id: bytes | None = None,
         stable: bool = False, **context) -> dict:
    """A vector with changes to the usual claims and context."""
    context = {**CONTEXT, **context}
    claims = in_order({**CLAIMS, **(claims or {})})
    if stable:
        token_id, context = stable_id(claims, SECRETS[key_id], context["collection"]), {**context, "stable": True}
    token_id = token_id or test_id(name)
    return {
        "name": name, "why": why, **context,
        "token": mint(claims, token_id, key_id, SECRETS[key_id], context["collection"]),
        "token_id": to_base64url(token_id), "key_id": key_id, "claims": claims,
        "plain_claims_hex": encode_claims(claims).hex(),
    }


def in_order(claims: dict) -> dict:
    """The claims in the order of the specification's table."""
    return {name: claims[name] for name in CLAIM_KEYS if name in claims}


def good_single_claims() -> list:
    """Every optional claim alone, then all together."""
    network, address = ["203.0.113.0/24"], "203.0.113.9"
    return [
        good("subject", "the subject alone", {"subject": "order 4711, Zoë"}),
        good("not-before", "not before alone, in the past", {"not_before": NOW - 1}),
        good("file-name", "the file name alone", {"file_name": "My cat.jpg"}),
        good("disposition-attachment", "disposition 0", {"disposition": "attachment"}),
        good("disposition-inline", "disposition 1", {"disposition": "inline"}),
        good("content-type", "the content type alone", {"content_type": "image/jpeg"}),
        good("networks", "an IPv4 network alone, and a client in it", {"networks": network}, client_address=address),
        good("max-downloads-least", "the least maximum of downloads", {"max_downloads": 1}),
        good("max-downloads-most", "the greatest maximum of downloads", {"max_downloads": 1_000_000}),
        good("rate-limit-least", "the least rate limit", {"rate_limit": 1}),
        good("rate-limit-above-32-bits", "a rate limit that 32 bits do not hold", {"rate_limit": 5_000_000_000}),
        good("all-claims", "every claim at once", {
            "subject": "customer-17", "not_before": NOW, "file_name": "cat.jpg", "disposition": "inline",
            "content_type": "image/jpeg", "networks": network, "max_downloads": 3, "rate_limit": 1_048_576,
        }, client_address=address),
    ]


def good_texts() -> list:
    """Lengths and characters at their limits."""
    odd = "100%25 \"quoted\" it's?x=1&y=2#top;.txt"
    return [
        good("path-longest", "a path of 1024 bytes of UTF-8, with ideographs and emoji", {"path": LONG_PATH}),
        good("path-one-byte", "the shortest path", {"path": "a"}),
        good("odd-names", "quotes, %, ? and # in path and file name mean nothing and are never decoded",
             {"path": "a b/" + odd, "file_name": odd}),
        good("encoded-dots", "%2e%2e is a name like any other", {"path": "a/%2e%2e/b"}),
        good("file-name-with-dot", "the dotfile rule is for paths, not for file names", {"file_name": ".profile"}),
        good("client-longest", "64 characters of every kind, a digit first", {"client": "0Az._-" + "x" * 58}),
        good("subject-longest", "a subject of 128 bytes of UTF-8", {"subject": "é" * 64}),
        good("file-name-longest", "a file name of 255 bytes of UTF-8", {"file_name": "漢" * 85}),
        good("token-longest", "a token of exactly 2048 characters, and 16 networks",
             {**LONG_CLAIMS, "file_name": "n" * LONGEST_FILE_NAME}, client_address="198.51.100.15"),
        good("dotfiles-allowed", "segments may start with a dot where the collection allows it",
             {"path": ".well-known/.hidden"}, dotfiles=True),
    ]


def good_times() -> list:
    """Times that are just good enough."""
    edge = NOW + NOT_BEFORE_LEEWAY_MS
    return [
        good("expires-in-1-ms", "the last millisecond of a token", {"expires_at": NOW + 1}),
        good("longest-lifetime", "exactly max_ttl between issued at and expires at",
             {"issued_at": NOW, "expires_at": NOW + DAY}),
        good("issued-at-leeway", "issued exactly 30 s ahead of this clock", {"issued_at": edge}),
        good("issued-at-two-leeways", "issued exactly two leeways ahead of this clock",
             {"issued_at": NOW + 4 * SECOND}, leeway_ms=2 * SECOND),
        good("issued-at-without-leeway", "issued now, where clocks do not differ", {"issued_at": NOW}, leeway_ms=0),
        good("not-before-leeway", "not before exactly 30 s ahead of this clock", {"not_before": edge}),
        good("both-at-leeway", "both exactly 30 s ahead of this clock", {"issued_at": edge, "not_before": edge}),
        good("largest-time", "expires in the last millisecond of the year 9999",
             {"issued_at": LAST_MS - DAY, "expires_at": LAST_MS}, now_ms=LAST_MS - 1),
    ]


def good_networks() -> list:
    """Addresses that are inside."""
    return [
        good("network-mapped-address", "an IPv4-mapped IPv6 address counts as its IPv4 address",
             {"networks": ["203.0.113.0/24"]}, client_address="::ffff:203.0.113.9"),
        good("network-ipv6", "an IPv6 network", {"networks": ["2001:db8::/32"]}, client_address="2001:db8:0:1::5"),
        good("network-odd-prefix", "a prefix that ends within a byte",
             {"networks": ["203.0.113.128/25"]}, client_address="203.0.113.128"),
        good("network-second", "the second of two networks, of the other family",
             {"networks": ["2001:db8::/32", "203.0.113.9/32"]}, client_address="203.0.113.9"),
        good("network-all-ipv4", "prefix length 0", {"networks": ["0.0.0.0/0"]}, client_address="203.0.113.9"),
    ]


def good_keys_and_counters() -> list:
    """Other keys, another collection, and counter blocks that carry."""
    return [
        good("verifying-key", "a key that no longer mints still verifies", key_id=8),
        good("long-secret", "the largest key id, with a secret of 64 bytes", key_id=LONG_KEY),
        good("other-collection", "the tag covers the collection's name", collection="documents"),
        good("counter-carries-32", "the counter carries beyond its last 32 bits",
             token_id=test_id("counter-carries-32")[:12] + b"\xff" * 4),
        good("counter-carries-64", "the counter carries beyond its last 64 bits",
             token_id=test_id("counter-carries-64")[:8] + b"\xff" * 8),
        good("counter-wraps", "the counter is all ones and goes on at 0", token_id=b"\xff" * 16),
    ]


def good_stable() -> list:
    """Links whose id follows from their claims."""
    return [
        good("stable", "the id of a stable link follows from its claims", stable=True),
        good("stable-other-claims", "another subject is another id", {"subject": "user-42"}, stable=True),
        good("stable-other-collection", "another collection is another id", stable=True, collection="documents"),
        good("stable-other-key", "another key is another id", key_id=8, stable=True),
    ]


# --- The refused ones --------------------------------------------------------------------------------------


def refused_vectors() -> list:
    """Everything that must be refused, in the order of the checks."""
    return [*refused_texts(), *refused_frames(), *refused_tags(), *refused_encodings(), *refused_unknown_claims(),
            *refused_values(), *refused_missing(), *refused_times_and_places(), *refused_for_the_first_fault()]


def refused(name: str, expect: str, why: str, token: str, **context) -> dict:
    """A vector with this text as its token."""
    return {"name": name, "why": why, **CONTEXT, **context, "token": token, "expect": expect}


def refused_claims(name: str, expect: str, why: str, changes: dict, drop: tuple = (), **context) -> dict:
    """A properly signed token with changes to the usual claims."""
    claims = {claim: value for claim, value in {**CLAIMS, **changes}.items() if claim not in drop}
    return refused(name, expect, why, signed(name, encode_claims(claims)), **context)


def signed(name: str, plain: bytes, key_id: int = 7, secret: bytes = SECRETS[7], version: int = VERSION) -> str:
    """A properly sealed and signed token with any bytes as its claims."""
    return to_base64url(build_frame(plain, test_id(name), key_id, secret, "image", version))


def usual_token() -> str:
    """A good token to be spoilt; its length leaves two characters and four unused bits at the end."""
    text = signed("spoilt", encode_claims(CLAIMS))
    assert len(text) % 4 == 2 and "-" in text and "_" in text
    return text


def refused_texts() -> list:
    """Steps 1 to 3."""
    text, word = usual_token(), "not-base64url"
    unused_bits = text[:-1] + chr(ord(text[-1]) + 1)  # the last character is A, Q, g or w
    too_long = signed("too-long-signed", encode_claims({**LONG_CLAIMS, "file_name": "n" * (LONGEST_FILE_NAME + 1)}))
    return [
        refused("too-long", "too-long", "2049 characters, which no bytes encode to: length is checked first",
                "A" * 2049),
        refused("too-long-signed", "too-long", "one byte more than the longest token, otherwise good", too_long,
                client_address="198.51.100.15"),
        refused("padding", word, "padding", text + "=="),
        refused("padding-half", word, "half of the padding", text + "="),
        refused("space-before", word, "white space before", " " + text),
        refused("space-after", word, "white space after", text + " "),
        refused("newline-after", word, "a newline after", text + "\n"),
        refused("newline-within", word, "a line break within", text[:64] + "\r\n" + text[64:]),
        refused("alphabet-plus", word, "+ of the other base64 alphabet", text.replace("-", "+")),
        refused("alphabet-slash", word, "/ of the other base64 alphabet", text.replace("_", "/")),
        refused("percent-encoded", word, "a percent-encoded character", "%41" + text[1:]),
        refused("not-ascii", word, "a full-width letter", "Ａ" + text[1:]),
        refused("unused-bits", word, "unused bits at the end are not zero", unused_bits),
        refused("cut-by-a-character", word, "the last character is missing", text[:-1]),
        refused("empty", "too-short", "no text at all is canonical, and too short", ""),
        refused("too-short", "too-short", "37 bytes: a frame without claims",
                signed("too-short", b"")),
    ]


def refused_frames() -> list:
    """Steps 4 to 6."""
    plain, frame = encode_claims(CLAIMS), from_base64url(usual_token())
    little_endian = int.from_bytes((7).to_bytes(4, "big"), "little")
    return [
        refused("version-0", "unknown-version", "version 0, signed", signed("version-0", plain, version=0)),
        refused("version-2", "unknown-version", "version 2, signed", signed("version-2", plain, version=2)),
        refused("flip-version", "unknown-version", "one bit of the version", to_base64url(flip(frame, 0, 0x80))),
        refused("key-unknown", "unknown-key", "key 10 is unknown", signed("key-unknown", plain, key_id=10)),
        refused("key-0", "unknown-key", "0 is no key id", signed("key-0", plain, key_id=0)),
        refused("key-little-endian", "unknown-key", "the key id is big-endian",
                signed("key-little-endian", plain, key_id=little_endian)),
        refused("flip-key-id", "unknown-key", "one bit of the key id", to_base64url(flip(frame, 4, 0x01))),
        refused("key-retired", "retired-key", "signed by a retired key",
                signed("key-retired", plain, key_id=9, secret=SECRETS[9])),
        refused("flip-key-id-to-retired", "retired-key", "one bit turns key 8 into key 9",
                signed_and_flipped("flip-key-id-to-retired", 4, key_id=8, secret=SECRETS[8])),
    ]


def flip(frame: bytes, position: int, bits: int) -> bytes:
    """The frame with some bits of one byte turned over."""
    position %= len(frame)
    return frame[:position] + bytes([frame[position] ^ bits]) + frame[position + 1:]


def signed_and_flipped(name: str, position: int, **frame) -> str:
    """The usual claims in a signed frame, with the last bit of one byte turned over."""
    return to_base64url(flip(from_base64url(signed(name, encode_claims(CLAIMS), **frame)), position, 0x01))


def refused_tags() -> list:
    """Step 7."""
    text, secret, plain = usual_token(), SECRETS[7], encode_claims(CLAIMS)
    frame = from_base64url(text)
    body, key = frame[:-TAG_BYTES], mac_key(secret)
    faults = [
        ("flip-key-id-to-other", "the key id of another key that verifies", flip(frame, 4, 7 ^ 8)),
        ("flip-token-id", "one bit of the token id", flip(frame, 5, 0x80)),
        ("flip-claims-first", "one bit of the first sealed byte", flip(frame, HEADER_BYTES, 0x01)),
        ("flip-claims-last", "one bit of the last sealed byte", flip(frame, -TAG_BYTES - 1, 0x01)),
        ("flip-tag-first", "the first bit of the tag", flip(frame, -TAG_BYTES, 0x80)),
        ("flip-tag-last", "the last bit of the tag", flip(frame, -1, 0x01)),
        ("tag-truncated", "a tag of 15 bytes", frame[:-1]),
        ("tag-missing", "no tag", body),
        ("tag-zero", "a tag of zeros", body + bytes(TAG_BYTES)),
        ("extended", "a byte after the tag", frame + b"\x00"),
        ("tag-full", "all 32 bytes of the tag", body + full_tag(key, "image", body)),
        ("tag-second-half", "the last 16 bytes of the tag", body + full_tag(key, "image", body)[TAG_BYTES:]),
        ("tag-by-secret", "the tag made with the secret itself", body + full_tag(secret, "image", body)[:TAG_BYTES]),
        ("tag-by-seal-key", "the tag made with the seal key",
         body + full_tag(seal_key(secret), "image", body)[:TAG_BYTES]),
        ("tag-over-unsealed", "the tag made before sealing (MAC-then-encrypt)",
         body + full_tag(key, "image", body[:HEADER_BYTES] + plain)[:TAG_BYTES]),
        ("tag-without-context", "the tag covers only the token", body + hmac_sha256(key, body)[:TAG_BYTES]),
        ("collection-without-length", "the tag covers no length of the collection's name",
         body + hmac_sha256(key, b"linkgate/v1\x00image" + body)[:TAG_BYTES]),
        ("collection-boundary", "the tag covers the collection 'imag', and 'e' as part of the token",
         body + full_tag(key, "imag", b"e" + body)[:TAG_BYTES]),
    ]
    return [refused(name, "bad-signature", why, to_base64url(fault)) for name, why, fault in faults] + [
        refused("collection-other", "bad-signature", "a good token under another collection's name", text,
                collection="documents"),
        refused("collection-prefix", "bad-signature", "a collection whose name only begins alike", text,
                collection="images"),
    ]


def refused_encodings() -> list:
    """Step 8."""
    plain = encode_claims(CLAIMS)
    client, expires_at, issued_at, path = pairs = [
        (encode(CLAIM_KEYS[name]), encode(CLAIMS[name])) for name in REQUIRED]
    content = plain[1:]
    faults = [
        ("map-indefinite", "a map of indefinite length", b"\xbf" + content + b"\xff"),
        ("map-then-byte", "a byte follows the map", plain + b"\x00"),
        ("map-then-map", "a second map follows", plain + plain),
        ("map-count-high", "the map announces a pair more than there is", head(MAP, 5) + content),
        ("map-count-low", "the map announces a pair less than there is; this comes before the missing path",
         head(MAP, 3) + content),
        ("map-count-huge", "the map announces 2^64 - 1 pairs", head(MAP, 2**64 - 1) + content),
        ("key-twice", "the same pair twice", encode_pairs([client, client, expires_at, issued_at, path])),
        ("key-twice-values", "two paths", encode_pairs(pairs + [(path[0], encode("2026/01/dog.jpg"))])),
        ("keys-descending", "issued at before expires at", encode_pairs([client, issued_at, expires_at, path])),
        ("keys-numeric", "-1 before 1: in the order of numbers, not of their encodings",
         encode_pairs([path, client, expires_at, issued_at])),
        ("array", "an array of keys and values", head(ARRAY, 8) + content),
        ("wrapped", "the map within a byte string", encode(plain)),
        ("number", "a number in place of the map", encode(4)),
    ]
    header_bytes, secret = header(VERSION, 7, test_id("sealed-with-mac-key")), SECRETS[7]
    body = header_bytes + aes_ctr(mac_key(secret), test_id("sealed-with-mac-key"), plain)
    by_mac_key = body + full_tag(mac_key(secret), "image", body)[:TAG_BYTES]
    return [refused(name, "claims-encoding", why, signed(name, fault)) for name, why, fault in faults] + [
        refused("sealed-with-mac-key", "claims-encoding", "the claims sealed with the mac key: unsealed, they are no map",
                to_base64url(by_mac_key)),
    ]


def refused_unknown_claims() -> list:
    """Step 9."""
    faults = [
        ("unknown-0", "key 0", 0), ("unknown-aud", "key 3, CWT's audience", 3),
        ("unknown-cti", "key 7, CWT's id", 7), ("unknown-24", "key 24, two bytes long", 24),
        ("unknown-257", "key 257, which ends like key 1", 257), ("unknown-minus-8", "key -8", -8),
        ("unknown-minus-25", "key -25, two bytes long", -25), ("unknown-text", "a text as key", "aud"),
    ]
    return [refused_claims(name, "claims-unknown", why, {key: 1}) for name, why, key in faults]


def refused_values() -> list:
    """Step 10."""
    faults = [*value_faults_in_paths(), *value_faults_in_texts(), *value_faults_in_numbers(),
              *value_faults_in_networks()]
    vectors = [refused_claims(name, "claims-value", why, {claim: value}) for name, why, claim, value in faults]
    return vectors + [
        refused_claims("path-up-with-dotfiles", "claims-value", "'..' is refused also where dotfiles are allowed",
                       {"path": "a/../b"}, dotfiles=True),
        refused_claims("path-dot-with-dotfiles", "claims-value", "'.' is refused also where dotfiles are allowed",
                       {"path": "./b"}, dotfiles=True),
    ]


def value_faults_in_paths() -> list:
    """Name, why, claim and value."""
    faults = [
        ("empty", "empty", ""), ("up", "a segment '..'", "a/../b"), ("only-up", "nothing but '..'", ".."),
        ("up-last", "'..' at the end", "a/.."), ("dot", "a segment '.'", "a/./b"),
        ("leading-slash", "a leading slash", "/etc/passwd"), ("trailing-slash", "a trailing slash", "a/b/"),
        ("only-slash", "nothing but a slash", "/"), ("double-slash", "an empty segment", "a//b"),
        ("dotfile", "a dotfile", ".htaccess"), ("dot-directory", "a dotfile as directory", "a/.git/config"),
        ("backslash", "a backslash", "a\\b"), ("newline", "a control character", "a\nb"), ("nul", "NUL", "a\0.jpg"),
        ("delete", "U+007F is a control character", "a\x7fb"), ("c1", "U+0085 is a control character", "a\x85b"),
        ("1025-bytes", "1025 bytes in fewer than 1024 characters", LONG_PATH + "x"),
        ("not-utf-8", "bytes that are not UTF-8", Raw(head(TEXT, 3) + b"a\xffb")),
        ("overlong-utf-8", "'..' in overlong UTF-8", Raw(head(TEXT, 6) + b"\xc0\xae\xc0\xae/a")),
        ("bytes", "a byte string", b"2026/01/cats.jpg"), ("number", "a number", 1),
    ]
    return [(f"path-{name}", f"path: {why}", "path", value) for name, why, value in faults]


def value_faults_in_texts() -> list:
    """Name, why, claim and value."""
    return [
        ("client-empty", "an empty client", "client", ""),
        ("client-space", "a character that clients cannot have", "client", "web shop"),
        ("client-not-ascii", "a letter that clients cannot have", "client", "café"),
        ("client-dash-first", "a client that starts with a dash", "client", "-shop"),
        ("client-newline", "a newline at the client's end", "client", "shop\n"),
        ("client-65", "a client of 65 characters", "client", "x" * 65),
        ("client-bytes", "the client as byte string", "client", b"shop"),
        ("subject-empty", "an empty subject", "subject", ""),
        ("subject-129-bytes", "a subject of 129 bytes in fewer characters", "subject", "é" * 64 + "x"),
        ("subject-control", "a control character in the subject", "subject", "a\nb"),
        ("file-name-empty", "an empty file name", "file_name", ""),
        ("file-name-256-bytes", "a file name of 256 bytes in fewer characters", "file_name", "漢" * 85 + "x"),
        ("file-name-slash", "a slash in the file name", "file_name", "a/b.jpg"),
        ("file-name-backslash", "a backslash in the file name", "file_name", "a\\b.jpg"),
        ("file-name-up", "'..' as file name", "file_name", ".."),
        ("file-name-control", "a line break in the file name", "file_name", "a\r\nb.jpg"),
        ("file-name-override", "U+202E makes exe.jpg of gpj.exe", "file_name", "cat\u202egpj.exe"),
        ("file-name-isolate", "U+2066 in the file name", "file_name", "cat\u2066gpj.exe"),
        ("content-type-empty", "an empty content type", "content_type", ""),
        ("content-type-line-break", "a second header in the content type", "content_type", "image/png\r\nX-A: b"),
        ("content-type-128-bytes", "a content type of 128 bytes", "content_type", "image/" + "x" * 122),
    ]


def value_faults_in_numbers() -> list:
    """Name, why, claim and value."""
    return [
        ("expires-text", "expires at as text", "expires_at", str(NOW + SECOND)),
        ("expires-float", "expires at as float", "expires_at", Raw(b"\xfb" + struct.pack(">d", NOW + SECOND))),
        ("expires-negative", "expires at before 1970", "expires_at", -1),
        ("expires-null", "expires at as null", "expires_at", Raw(b"\xf6")),
        ("expires-tagged", "expires at tagged as epoch time", "expires_at", Raw(b"\xc1" + encode(NOW + SECOND))),
        ("expires-year-10000", "expires 1 ms after the year 9999", "expires_at", LAST_MS + 1),
        ("expires-2-64", "the largest unsigned number", "expires_at", 2**64 - 1),
        ("issued-year-10000", "issued 1 ms after the year 9999", "issued_at", LAST_MS + 1),
        ("not-before-year-10000", "not before 1 ms after the year 9999", "not_before", LAST_MS + 1),
        ("disposition-2", "disposition 2", "disposition", 2),
        ("disposition-text", "the disposition as text", "disposition", Raw(encode("inline"))),
        ("disposition-bool", "the disposition as true", "disposition", Raw(b"\xf5")),
        ("max-downloads-0", "no downloads at all", "max_downloads", 0),
        ("max-downloads-1000001", "one download too many", "max_downloads", 1_000_001),
        ("max-downloads-2-32", "1 after cutting it to 32 bits", "max_downloads", 2**32 + 1),
        ("rate-limit-0", "no bytes per second", "rate_limit", 0),
        ("rate-limit-negative", "a negative rate limit", "rate_limit", -1),
    ]


def value_faults_in_networks() -> list:
    """Name, why, claim and value."""
    address, network = bytes([203, 0, 113, 0]), pack_networks(["203.0.113.0/24"])
    faults = [
        ("empty", "no network at all", b""), ("17", "17 networks", network * 17),
        ("host-bits", "host bits that are not zero", pack_network(bytes([203, 0, 113, 9]), 24)),
        ("host-bits-ipv6", "the last host bit of an IPv6 network",
         pack_network(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", 127)),
        ("prefix-33", "33 bits of an IPv4 address", pack_network(address, 33)),
        ("prefix-129", "129 bits of an IPv6 address", pack_network(bytes(16), 129)),
        ("length-5", "an address of 5 bytes", pack_network(address + b"\x00", 24)),
        ("cut", "the address ends early", network[:-1]),
        ("half", "a second network without address", network + b"\x18"),
        ("text", "a network as text", Raw(encode("203.0.113.0/24"))),
        ("array", "an array of networks", Raw(head(ARRAY, 1) + encode(network))),
    ]
    return [(f"networks-{name}", f"networks: {why}", "networks", value) for name, why, value in faults]


def refused_missing() -> list:
    """Step 11."""
    missing = [refused_claims(f"missing-{name.replace('_', '-')}", "claims-missing", f"no {name.replace('_', ' ')}",
                              {}, drop=(name,)) for name in REQUIRED]
    return missing + [refused_claims("map-empty", "claims-missing", "an empty map: the shortest frame, of 38 bytes",
                                     {}, drop=REQUIRED)]


def refused_times_and_places() -> list:
    """Steps 12 to 16."""
    late, network = NOW + NOT_BEFORE_LEEWAY_MS + 1, {"networks": ["203.0.113.0/25"]}
    return [
        refused_claims("lifetime", "lifetime-too-long", "1 ms more than max_ttl",
                       {"issued_at": NOW, "expires_at": NOW + DAY + 1}),
        refused_claims("issued-late", "issued-in-the-future", "issued 30.001 s ahead", {"issued_at": late}),
        refused_claims("issued-beyond-two-leeways", "issued-in-the-future", "issued 1 ms more than two leeways ahead",
                       {"issued_at": NOW + 4 * SECOND + 1}, leeway_ms=2 * SECOND),
        refused_claims("issued-without-leeway", "issued-in-the-future", "issued 1 ms ahead, where clocks do not differ",
                       {"issued_at": NOW + 1}, leeway_ms=0),
        refused_claims("not-before-whatever-the-leeway", "not-yet-valid", "not before has a leeway of its own",
                       {"not_before": late}, leeway_ms=60 * SECOND),
        refused_claims("not-before-late", "not-yet-valid", "not before 30.001 s ahead", {"not_before": late}),
        refused_claims("outside", "outside-networks", "an address just behind the network", network,
                       client_address="203.0.113.128"),
        refused_claims("outside-mapped", "outside-networks", "an IPv4-mapped IPv6 address behind the network",
                       network,
                       client_address="::ffff:203.0.113.128"),
        refused_claims("outside-ipv6", "outside-networks", "an IPv6 client, an IPv4 network", network,
                       client_address="2001:db8::1"),
        refused_claims("outside-ipv4", "outside-networks", "an IPv4 client, an IPv6 network",
                       {"networks": ["2001:db8::/32"]}, client_address="203.0.113.9"),
        refused_claims("outside-unknown", "outside-networks", "networks, but no client address is known", network),
        refused_claims("expires-now", "expired", "from that time on it is refused", {"expires_at": NOW}),
        refused_claims("expired", "expired", "expired 1 ms ago", {"expires_at": NOW - 1}),
        refused_claims("expired-seconds", "expired", "times in seconds, as CWT has them",
                       {"issued_at": NOW // 1000, "expires_at": NOW // 1000 + 600}),
        refused_claims("expired-at-largest-time", "expired", "the last millisecond of the year 9999 has come",
                       {"issued_at": LAST_MS - DAY, "expires_at": LAST_MS}, now_ms=LAST_MS),
    ]


def refused_for_the_first_fault() -> list:
    """Two faults each: the check that comes first decides, and within the map the claim that comes first."""
    expired, late, network = {"expires_at": NOW}, NOW + NOT_BEFORE_LEEWAY_MS + 1, {"networks": ["203.0.113.0/24"]}
    return [
        refused("first-version", "unknown-version", "unknown version, unknown key, wrong tag",
                signed_and_flipped("first-version", -1, key_id=10, version=2)),
        refused("first-retired-key", "retired-key", "retired key, wrong tag",
                signed_and_flipped("first-retired-key", -1, key_id=9, secret=SECRETS[9])),
        refused("first-signature", "bad-signature", "wrong tag, expired",
                signed_and_flipped("first-signature", -1),
                now_ms=CLAIMS["expires_at"]),
        refused_claims("first-unknown", "claims-unknown", "an unknown claim, then a wrong value", {3: 1, "path": ""}),
        refused_claims("first-value", "claims-value", "a wrong value, then an unknown claim", {"path": "", -8: 1}),
        refused_claims("first-value-then-missing", "claims-value", "a wrong value, and no client", {"path": ""},
                       drop=("client",)),
        refused_claims("first-missing", "claims-missing", "no client, expired", expired, drop=("client",)),
        refused_claims("first-lifetime", "lifetime-too-long", "lives too long, issued in the future",
                       {"issued_at": late, "expires_at": late + DAY + 1}),
        refused_claims("first-issued", "issued-in-the-future", "issued in the future, not yet valid",
                       {"issued_at": late, "not_before": late}),
        refused_claims("first-not-before", "not-yet-valid", "not yet valid, outside its networks",
                       {"not_before": late, **network}),
        refused_claims("first-outside", "outside-networks", "outside its networks, expired", {**expired, **network},
                       client_address="198.51.100.1"),
    ]


if __name__ == "__main__":
    sys.exit(main())
