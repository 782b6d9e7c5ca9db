//! AES-CBC (NIST SP 800-38A section 6.2): encryption of many packets side by side, because each is serial in itself; decryption of one.
