//! AES-GCM (NIST SP 800-38D) with nonces of 96 bits.
