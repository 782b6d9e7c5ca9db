"""tshark as a second judge: its own ESP decoder says whether each ICV is right and what the packet holds.

It keeps no state between packets and knows no extended sequence numbers, so those SAs are not given to it.
"""

import json
import subprocess

from packets import INNER, OUTER

HANG_GUARD_SECONDS = 120
CIPHERS = {"AES-CBC": "AES-CBC [RFC3602]", "AES-GCM": "AES-GCM with 16 octet ICV [RFC4106]", "NULL": "NULL"}
INTEGRITIES = {
    None: "NULL",
    "HMAC-SHA1-96": "HMAC-SHA-1-96 [RFC2404]",
    "SHA2-256-128": "HMAC-SHA-256-128 [RFC4868]",
    "SHA2-384-192": "HMAC-SHA-384-192 [RFC4868]",
    "SHA2-512-256": "HMAC-SHA-512-256 [RFC4868]",
}


def esp_sa_row(association):
    """The SA as a row of tshark's table of ESP SAs."""
    suite = association.suite
    family = association.outer or association.inner
    source, destination = (OUTER if association.outer else INNER)[family]
    row = [
        f"IPv{family}",
        source,
        destination,
        f"0x{association.spi:08x}",
        CIPHERS[suite.cipher],
        "0x" + suite.encryption_key.hex() if suite.cipher_key else "",
        INTEGRITIES[suite.integrity],
        "0x" + suite.authentication_key.hex() if suite.integrity else "",
    ]
    return "uat:esp_sa:" + ",".join(f'"{field}"' for field in row)


def dissect(tshark, capture, association, fields):
    """One row per packet: for each field, the list of its values."""
    command = [tshark, "-n", "-r", str(capture), "-T", "json", "-o", esp_sa_row(association)]
    for check in ("ip.check_checksum", "esp.enable_authentication_check", "esp.enable_encryption_decode"):
        command += ["-o", f"{check}:TRUE"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_GUARD_SECONDS)
    assert done.returncode == 0, done.stderr
    return [packet["_source"].get("layers", {}) for packet in json.loads(done.stdout)]
