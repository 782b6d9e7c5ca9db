//! What a card says of a frame that it has put into a buffer, beside the completion: three words in the place of the command's second list, which a
//! command for a buffer does not need. They are written before the completion, so whoever sees that sees them.

use crate::inline::{RxOutcome, Service};

use super::association::{code_of, service_of};

/// Words of a receipt.
pub(crate) const WORDS: usize = 3;

/// A frame in a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Bytes.
    pub(crate) len: u32,
    /// What was done with it; `None` when nothing was.
    pub(crate) report: Option<Report>,
}

/// What was done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) service: Service,
    pub(crate) outcome: RxOutcome,
    /// Place of the SA, and how often the place was used.
    pub(crate) handle: u32,
    /// With inline crypto: the high half of the number with which the ICV was right.
    pub(crate) esn_high: u32,
    /// With inline protocol: the number that counts as received from now on. From it the driver knows, when the card has forgotten everything, up to
    /// where numbers were received.
    pub(crate) number: u64,
}

impl Receipt {
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let len = u64::from(self.len);
        match self.report {
            None => [len, 0, 0],
            Some(Report { service, outcome, handle, esn_high, number }) => [
                len | (outcome as u64) << 32 | u64::from(code_of(service)) << 40,
                u64::from(handle) | u64::from(esn_high) << 32,
                number,
            ],
        }
    }

    pub(crate) fn from_words([first, second, number]: [u64; WORDS]) -> Self {
        let report = || {
            Some(Report {
                service: service_of((first >> 40) as u8)?,
                outcome: RxOutcome::from_bits((first >> 32) as u32 & 0xff)?,
                handle: second as u32,
                esn_high: (second >> 32) as u32,
                number,
            })
        };
        Self { len: first as u32, report: report() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_as_it_was_written() {
        let plain = Receipt { len: 1500, report: None };
        assert_eq!(Receipt::from_words(plain.to_words()), plain);
        for service in [Service::Crypto, Service::Protocol] {
            for outcome in [RxOutcome::Ok, RxOutcome::TooOld, RxOutcome::Failed] {
                let report =
                    Report { service, outcome, handle: 0x1_0007, esn_high: u32::MAX, number: 1 << 40 };
                let receipt = Receipt { len: 60, report: Some(report) };
                assert_eq!(Receipt::from_words(receipt.to_words()), receipt);
            }
        }
    }
}
