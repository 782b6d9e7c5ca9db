//! Why ESP let a packet go: the names under which drops, absorptions and departures are counted.
//!
//! Invariant: numbers run from 0 without a gap, so a reason can index a counter; names are snake_case, unique and
//! part of what scripts read (`packets.dropped` and its neighbours). Counting is not done here.

use std::fmt;

use crate::header::HeaderError;

macro_rules! reasons {
    ($(#[$about:meta])* $reason:ident { $($(#[$what:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $reason { $($(#[$what])* $variant,)+ }

        impl $reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many reasons there are: the length of an array of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The name under which it is counted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Its number, below [`Self::COUNT`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// An IP, UDP or extension header contradicts itself or the packet's length.
        MalformedHeader = "malformed_header",
        /// No policy matches (RFC 4301 section 5: discard).
        NoPolicy = "no_policy",
        /// A policy says discard.
        PolicyDiscard = "policy_discard",
        /// A protect policy has no live SA.
        NoSa = "no_sa",
        /// The SA has sent its last sequence number (RFC 4303 section 3.3.3).
        SequenceExhausted = "sequence_exhausted",
        /// The protected packet would not fit an IP packet or its buffer.
        TooLong = "too_long",
        /// The pool had no buffer to build in.
        NoBuffer = "no_buffer",
        /// A fragment met a transport-mode SA (RFC 4303 section 3.3.4).
        FragmentInTransport = "fragment_in_transport",
        /// Transport mode cannot carry a packet without a payload protocol: its receiver would take it for a dummy
        /// (RFC 4303 section 2.6).
        NoNextHeader = "no_next_header",
        /// An ESP packet arrived as a fragment and was not reassembled (RFC 4303 section 3.4.1).
        OuterFragment = "outer_fragment",
        /// Too short for an ESP header, IV, trailer and ICV.
        Truncated = "truncated",
        /// No SA has this SPI (RFC 4303 section 3.4.2).
        UnknownSpi = "unknown_spi",
        /// This sequence number was received before (RFC 4303 section 3.4.3).
        Replayed = "replayed",
        /// The sequence number lies before the replay window, where replay can no longer be told.
        ReplayTooOld = "replay_too_old",
        /// The integrity check value is wrong (RFC 4303 section 3.4.4).
        IntegrityFailed = "integrity_failed",
        /// The driver could not do the crypto; the packet was not touched.
        CryptoFailed = "crypto_failed",
        /// The padding is not 1, 2, 3, … or longer than the payload (RFC 4303 section 2.4).
        BadPadding = "bad_padding",
        /// The trailer names a next header that the SA's mode cannot carry.
        BadNextHeader = "bad_next_header",
        /// The decrypted packet matches no inbound policy (RFC 4301 section 5.2).
        SelectorMismatch = "selector_mismatch",
        /// The decrypted packet matches a policy that does not list the SA by which it came.
        WrongSa = "wrong_sa",
        /// A packet arrived in the clear although a policy protects its flow (RFC 4301 section 5.2).
        Unprotected = "unprotected",
        /// Congestion was marked outside on a packet that does not speak ECN inside (RFC 6040 section 4.2).
        EcnCongestionDrop = "ecn_congestion_drop",
        /// The ciphertext is not a multiple of the cipher's block.
        BadLength = "bad_length",
        /// The driver lost track of the job: nobody knows whether the packet was changed.
        CryptoIndeterminate = "crypto_indeterminate",
        /// Came back when its place in the order had been given up.
        CryptoLate = "crypto_late",
        /// Its SA was replaced or removed while the packet was being decrypted.
        SaGone = "sa_gone",
        /// A card's report names a slot to which no SA is bound, or another SA than the packet does, or makes no sense.
        BadReport = "bad_report",
        /// The numbers of its SA are with a card, and the packet came past the card: whether it is a replay nobody here can
        /// tell.
        MissedByCard = "missed_by_card",
    }
}

reasons! {
    /// Why a packet ended here without being lost.
    AbsorbReason {
        /// A dummy packet, next header 59 (RFC 4303 section 2.6).
        Dummy = "dummy",
        /// A NAT keepalive: one byte 0xff over UDP (RFC 3948 section 2.3).
        NatKeepalive = "nat_keepalive",
    }
}

reasons! {
    /// How a packet left.
    OutReason {
        /// Wrapped in ESP.
        Protected = "protected",
        /// Unwrapped from ESP.
        Decrypted = "decrypted",
        /// In the clear, as a policy says.
        Bypassed = "bypassed",
        /// Not IP, so no policy speaks of it.
        BypassedNonIp = "bypassed_non_ip",
        /// An IKE message on the port that ESP shares (RFC 3948 section 2.2).
        Ike = "ike",
    }
}

impl From<HeaderError> for DropReason {
    fn from(_: HeaderError) -> Self {
        Self::MalformedHeader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snake_case(camel: &str) -> String {
        let mut name = String::new();
        for letter in camel.chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    fn check<R: fmt::Debug + fmt::Display + Copy>(all: &[R], index: impl Fn(R) -> usize) {
        for (at, reason) in all.iter().enumerate() {
            assert_eq!(index(*reason), at);
            assert_eq!(reason.to_string(), snake_case(&format!("{reason:?}")));
        }
    }

    #[test]
    fn numbers_have_no_gap_and_names_are_the_variants_in_snake_case() {
        check(DropReason::ALL, DropReason::index);
        check(AbsorbReason::ALL, AbsorbReason::index);
        check(OutReason::ALL, OutReason::index);
    }

    #[test]
    fn counters_can_be_sized_by_the_count() {
        assert_eq!(DropReason::COUNT, 28);
        assert_eq!(AbsorbReason::COUNT, 2);
        assert_eq!(OutReason::COUNT, 5);
    }
}
