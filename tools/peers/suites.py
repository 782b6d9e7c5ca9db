"""What is compared: each suite with its names on both sides, and how its tags are computed for packets of zeros.

Packets of zeros, a nonce and associated data of zeros are what DPDK's tool begins with, and what it is given back before every round. So the
tags that it is to check can be told beforehand, for every size, by OpenSSL's block ciphers and Python's hashes.
"""

import hmac
import subprocess
from dataclasses import dataclass

CBC_BLOCK = 16
IMIX = [40, 576, 40, 576, 40, 1500, 40, 576, 40, 576, 40, 40]
GCM_DEVICES = ["crypto_aesni_gcm", "crypto_aesni_mb"]
CHACHA_DEVICES = ["crypto_aesni_mb", "crypto_chacha20_poly1305", "crypto_openssl"]
MULTI_BUFFER = ["crypto_aesni_mb"]
AAD_LEN = 8


def key(size):
    """Any key will do; this is the one for which tags are computed."""
    return bytes(range(1, size + 1))


def openssl(name, secret, data, iv=None):
    """Bytes through one of OpenSSL's ciphers."""
    command = ["openssl", "enc", f"-{name}", "-nopad", "-K", secret.hex()] + (["-iv", iv.hex()] if iv else [])
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def ghash_multiply(one, other):
    """A product in GCM's field, NIST SP 800-38D section 6.3."""
    product = 0
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (0xE1 << 120 if other & 1 else 0)
    return product


def gcm_tag(secret, size):
    """Of zeros under a nonce of zeros: only the block of lengths counts in GHASH, NIST SP 800-38D section 7.1."""
    ecb = f"aes-{8 * len(secret)}-ecb"
    subkey = int.from_bytes(openssl(ecb, secret, bytes(16)), "big")
    mask = int.from_bytes(openssl(ecb, secret, bytes(15) + b"\x01"), "big")
    lengths = (8 * AAD_LEN) << 64 | 8 * size
    return (ghash_multiply(lengths, subkey) ^ mask).to_bytes(16, "big")


def chacha_tag(secret, size):
    """Of zeros under a nonce of zeros, RFC 8439 sections 2.5 and 2.8."""
    stream = openssl("chacha20", secret, bytes(32), bytes(16))
    multiplier = int.from_bytes(stream[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    padded = bytes(AAD_LEN + -AAD_LEN % 16 + size + -size % 16)
    data = padded + AAD_LEN.to_bytes(8, "little") + size.to_bytes(8, "little")
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at : at + 16] + b"\x01", "little")) * multiplier % (2**130 - 5)
    return ((total + int.from_bytes(stream[16:], "little")) % 2**128).to_bytes(16, "little")


@dataclass(frozen=True)
class Suite:
    """One suite on both sides."""

    ours: list
    operations: dict
    devices: list
    both: list
    ways: dict
    keys: dict
    block: int = 1
    tag: object = None
    aead: bool = False
    otherwise: list = None
    deciphers: bool = True

    def sizes(self, size):
        """The sizes of a case in turn: one, or the mix padded to blocks, as crypto-perf has it."""
        return [-(-one // self.block) * self.block for one in IMIX] if size == "imix" else [size]


ESP = {"encrypt": "encrypt", "decrypt": "decrypt"}
MAC = {"encrypt": "generate", "decrypt": "verify"}
HASHES = {"sha1": "sha1", "sha2-256": "sha256", "sha2-512": "sha512"}


def hash_tag(name, key_len, tag_len):
    """The tag of zeros under an HMAC."""
    return lambda size: hmac.new(key(key_len), bytes(size), HASHES[name]).digest()[:tag_len]


def hash_options(name, key_len, tag_len):
    """An HMAC as DPDK's options."""
    return ["--auth-algo", f"{name}-hmac", "--auth-key-sz", str(key_len), "--digest-sz", str(tag_len)]


def chain(name, key_len, hash_name, hash_key, tag_len):
    """AES-CBC with an HMAC; the order is given by the direction."""
    return Suite(
        ours=["--suite", name], operations=ESP, devices=MULTI_BUFFER, block=CBC_BLOCK,
        both=["--cipher-algo", "aes-cbc", "--cipher-key-sz", str(key_len), "--cipher-iv-sz", "16", *hash_options(hash_name, hash_key, tag_len)],
        ways={
            "encrypt": ["--optype", "cipher-then-auth", "--cipher-op", "encrypt", "--auth-op", "generate"],
            "decrypt": ["--optype", "auth-then-cipher", "--cipher-op", "decrypt", "--auth-op", "verify"],
        },
        keys={"cipher_key": key(key_len), "cipher_iv": bytes(16), "auth_key": key(hash_key)},
        tag=hash_tag(hash_name, hash_key, tag_len),
    )


def aead(name, dpdk_name, devices, key_len, tag, otherwise=None):
    """An AEAD with the associated data of ESP."""
    return Suite(
        ours=["--suite", name], otherwise=otherwise, operations=ESP, devices=devices, aead=True,
        both=["--optype", "aead", "--aead-algo", dpdk_name, "--aead-key-sz", str(key_len), "--aead-iv-sz", "12",
              "--aead-aad-sz", str(AAD_LEN), "--digest-sz", "16"],
        ways={way: ["--aead-op", way] for way in ESP},
        keys={"aead_key": key(key_len), "aead_iv": bytes(12), "aad": bytes(AAD_LEN)},
        tag=lambda size: tag(key(key_len), size),
    )


def cipher(name, dpdk_name, key_len, block):
    """A cipher alone."""
    return Suite(
        ours=["--algorithm", name], operations=ESP, devices=MULTI_BUFFER, block=block,
        both=["--optype", "cipher-only", "--cipher-algo", dpdk_name, "--cipher-key-sz", str(key_len), "--cipher-iv-sz", "16"],
        ways={way: ["--cipher-op", way] for way in ESP},
        keys={"cipher_key": key(key_len), "cipher_iv": bytes(16)},
    )


def mac(name, key_len):
    """An HMAC alone, its tag uncut."""
    return Suite(
        ours=["--algorithm", f"{name}-hmac"], operations=MAC, devices=MULTI_BUFFER,
        both=["--optype", "auth-only", *hash_options(name, key_len, key_len)],
        ways={"encrypt": ["--auth-op", "generate"], "decrypt": ["--auth-op", "verify"]},
        keys={"auth_key": key(key_len)}, tag=hash_tag(name, key_len, key_len), deciphers=False,
    )


SUITES = {
    "aes128-sha1": chain("aes128-sha1", 16, "sha1", 20, 12),
    "aes256-sha256": chain("aes256-sha256", 32, "sha2-256", 32, 16),
    "aes128gcm16": aead("aes128gcm16", "aes-gcm", GCM_DEVICES, 16, gcm_tag),
    "aes256gcm16": aead("aes256gcm16", "aes-gcm", GCM_DEVICES, 32, gcm_tag),
    # The algorithm alone, with its whole nonce in the packet, for a crypto-perf that has no such suite.
    "chacha20poly1305": aead("chacha20poly1305", "chacha20-poly1305", CHACHA_DEVICES, 32, chacha_tag, ["--algorithm", "chacha20-poly1305"]),
    "aes-128-cbc": cipher("aes-128-cbc", "aes-cbc", 16, CBC_BLOCK),
    "aes-128-ctr": cipher("aes-128-ctr", "aes-ctr", 16, 1),
    "hmac-sha1": mac("sha1", 20),
    "hmac-sha256": mac("sha2-256", 32),
    "hmac-sha512": mac("sha2-512", 64),
}
