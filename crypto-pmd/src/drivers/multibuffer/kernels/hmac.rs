//! HMAC with SHA-1 and SHA-2-256 (RFC 2104, FIPS 180-4) over many packets side by side.
