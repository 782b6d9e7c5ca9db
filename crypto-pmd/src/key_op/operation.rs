//! The operations, with the names of their operands.

/// Most operands of an operation, inputs and outputs together (crypto(9), `CRK_MAXPARAM`).
pub const MAX_PARAMETERS: usize = 8;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyOperation {
    /// `base ^ exponent mod modulus`, the modulus odd and above one, the base below it.
    ModExp,
    /// `base ^ d mod p q` from the halves of an RSA key, `dp = d mod p-1`, `dq = d mod q-1`, `qinv = q^-1 mod p`, for primes
    /// `p` and `q` (RFC 8017 section 5.1.2, without its third prime).
    ModExpCrt,
    /// A DSA signature `r`, `s` of a digest (FIPS 186-4 section 4.6).
    DsaSign,
    /// Checks a DSA signature (FIPS 186-4 section 4.7): no output, the result says whether it is right.
    DsaVerify,
    /// `public ^ private mod modulus`, the shared secret of Diffie and Hellman (RFC 2631 section 2.1.1), for a prime modulus.
    DhComputeKey,
}

impl KeyOperation {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ModExp, Self::ModExpCrt, Self::DsaSign, Self::DsaVerify, Self::DhComputeKey];

    /// Name as crypto(9) has it, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModExp => "mod-exp",
            Self::ModExpCrt => "mod-exp-crt",
            Self::DsaSign => "dsa-sign",
            Self::DsaVerify => "dsa-verify",
            Self::DhComputeKey => "dh-compute-key",
        }
    }

    /// Names of the inputs, in their order.
    #[must_use]
    pub const fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::ModExp => &["base", "exponent", "modulus"],
            Self::ModExpCrt => &["p", "q", "base", "dp", "dq", "qinv"],
            Self::DsaSign => &["digest", "p", "q", "g", "x"],
            Self::DsaVerify => &["digest", "p", "q", "g", "y", "r", "s"],
            Self::DhComputeKey => &["private", "public", "modulus"],
        }
    }

    /// Names of the outputs, in their order.
    #[must_use]
    pub const fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::ModExp | Self::ModExpCrt => &["result"],
            Self::DsaSign => &["r", "s"],
            Self::DsaVerify => &[],
            Self::DhComputeKey => &["shared"],
        }
    }
}

/// One operation that a driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySupport {
    /// The operation.
    pub operation: KeyOperation,
    /// Longest operand that it takes, in bits.
    pub max_bits: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operation_has_more_operands_than_a_request_holds() {
        let counts = KeyOperation::ALL.map(|operation| (operation.inputs().len(), operation.outputs().len()));
        assert_eq!(counts, [(3, 1), (6, 1), (5, 2), (7, 0), (3, 1)]);
        assert!(counts.iter().all(|(inputs, outputs)| inputs + outputs <= MAX_PARAMETERS));
    }
}
