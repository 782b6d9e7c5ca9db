//! ipsec-esp
