//! crypto-pmd
