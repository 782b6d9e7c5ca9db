"""Suites and security associations, described once for the tool and for its peers.

From one `Association` come the tool's TOML configuration, scapy's SA and tshark's decryption table, so that the
three cannot disagree by a slip of the pen. The keys follow from the suite's name and are good for tests only.
"""

import hashlib
from dataclasses import dataclass

from packets import INNER_NETWORKS, OUTER


@dataclass(frozen=True)
class Suite:
    """A suite by its IKEv2 keyword. Lengths in bytes; `cipher_key` counts the salt, `alignment` is the trailer's."""

    name: str
    cipher: str
    cipher_key: int
    iv: int
    alignment: int
    integrity: str | None
    integrity_key: int
    icv: int

    @property
    def encryption_key(self):
        """The cipher's key, then its salt where it has one."""
        return derived_key(self.name, "encryption", self.cipher_key)

    @property
    def authentication_key(self):
        """The key of the HMAC; empty for an AEAD."""
        return derived_key(self.name, "integrity", self.integrity_key)


def derived_key(suite, purpose, length):
    """A key that no other suite and purpose has."""
    return hashlib.shake_256(f"{suite} {purpose}".encode()).digest(length)


# keyword, scapy's name, key length, ICV length: RFC 2404, RFC 4868 section 2.3
INTEGRITIES = [
    ("sha1", "HMAC-SHA1-96", 20, 12),
    ("sha256", "SHA2-256-128", 32, 16),
    ("sha384", "SHA2-384-192", 48, 24),
    ("sha512", "SHA2-512-256", 64, 32),
]


def all_suites():
    """Every suite, by its keyword."""
    suites = []
    for bits in (128, 192, 256):
        for keyword, integrity, key, icv in INTEGRITIES:
            suites.append(Suite(f"aes{bits}-{keyword}", "AES-CBC", bits // 8, 16, 16, integrity, key, icv))
        suites.append(Suite(f"aes{bits}gcm16", "AES-GCM", bits // 8 + 4, 8, 4, None, 0, 16))
    for keyword, integrity, key, icv in INTEGRITIES[:2]:
        suites.append(Suite(f"null-{keyword}", "NULL", 0, 0, 4, integrity, key, icv))
    return {suite.name: suite for suite in suites}


SUITES = all_suites()


@dataclass(frozen=True)
class Association:
    """One SA and its one policy. `outer` is the family of the tunnel header; transport mode has none."""

    suite: Suite
    inner: int = 4
    outer: int | None = 4
    esn: bool = False
    sequence: int = 1
    udp_encap: bool = False
    replay_window: int = 64
    spi: int = 0x1001

    @property
    def mode(self):
        """The configuration's word for it."""
        return "transport" if self.outer is None else "tunnel"

    def sa_toml(self, direction, extra=""):
        """The `[[sa]]` table; `extra` is further lines of it."""
        lines = [
            "[[sa]]",
            'name = "under-test"',
            f'direction = "{direction}"',
            f"spi = {self.spi:#x}",
            f'suite = "{self.suite.name}"',
            f'mode = "{self.mode}"',
            f"esn = {str(self.esn).lower()}",
            f"sequence = {self.sequence}",
            f"replay_window = {self.replay_window}",
        ]
        if self.suite.cipher_key:
            lines.append(f'encryption_key = "{self.suite.encryption_key.hex()}"')
        if self.suite.integrity:
            lines.append(f'integrity_key = "{self.suite.authentication_key.hex()}"')
        if self.outer:
            source, destination = OUTER[self.outer]
            lines.append(f'tunnel = {{ src = "{source}", dst = "{destination}" }}')
        if self.udp_encap:
            lines.append("udp_encap = { src_port = 4500, dst_port = 4500 }")
        return "\n".join(lines) + "\n" + extra + "\n"

    def policy_toml(self, direction, sa="under-test"):
        """The `[[policy]]` table that protects the inner networks with this SA."""
        source, destination = INNER_NETWORKS[self.inner]
        lines = [
            "[[policy]]",
            f'direction = "{direction}"',
            "priority = 100",
            f'selector = {{ src = "{source}", dst = "{destination}" }}',
            'action = "protect"',
            f'sa = "{sa}"',
        ]
        return "\n".join(lines) + "\n"

    def toml(self, direction, extra=""):
        """A whole configuration for one direction."""
        return self.sa_toml(direction, extra) + self.policy_toml(direction)

    def __str__(self):
        shape = f"{self.inner}in{self.outer}" if self.outer else f"transport{self.inner}"
        return f"{self.suite.name}-{shape}"


def both_modes(suite):
    """Tunnel and transport mode, each over IPv4 and IPv6."""
    return [Association(suite, inner, outer) for inner, outer in ((4, 4), (6, 6), (4, None), (6, None))]


def mixed_tunnels(suite):
    """The tunnels whose inner and outer families differ."""
    return [Association(suite, 4, 6), Association(suite, 6, 4)]


SWEPT_SUITE = SUITES["aes128-sha1"]
EVERY_ASSOCIATION = [sa for suite in SUITES.values() for sa in both_modes(suite)] + mixed_tunnels(SWEPT_SUITE)


def payload_lengths(suite):
    """All lengths up to 1500 for one suite; for the others some small ones, those near the usual MTU, and a jumbo."""
    if suite == SWEPT_SUITE:
        return range(1501)
    return [*range(41), *range(1390, 1431), 9000]
