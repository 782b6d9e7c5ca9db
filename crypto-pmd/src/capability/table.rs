//! What a driver can do, for people to read: Markdown, made from its capabilities and from nothing else.

use crate::algorithm::Algorithm;

use super::{Capabilities, Entry};

/// The driver's traits, its algorithms and its key operations as Markdown, one row each; a driver that takes anything has its traits
/// only. Key and operand lengths are in bits, tag lengths in bytes.
///
/// ```
/// use crypto_pmd::{Driver as _, capability, drivers::Software};
/// let table = capability::table(Software::new().capabilities());
/// assert!(table.contains("\n| aes-cbc | cipher | 128, 192, 256 | | | 532480 |\n"));
/// ```
#[must_use]
pub fn table(capabilities: &Capabilities) -> String {
    let parts = [traits(capabilities), algorithms(capabilities), key_operations(capabilities)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn traits(capabilities: &Capabilities) -> Option<String> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let or = |limit: Option<usize>, otherwise: &str| {
        limit.map_or_else(|| otherwise.to_owned(), |limit| limit.to_string())
    };
    let batch = match capabilities.batch_size {
        0 | 1 => "any".to_owned(),
        jobs => jobs.to_string(),
    };
    let latency =
        capabilities.latency_ns.map_or_else(|| "not said".to_owned(), |latency| latency.to_string());
    let rows = [
        ["engine outside the processor".to_owned(), yes_no(capabilities.hardware)],
        ["done when submitted".to_owned(), yes_no(capabilities.synchronous)],
        ["takes anything, computes nothing".to_owned(), yes_no(capabilities.anything)],
        ["jobs come back in order".to_owned(), yes_no(capabilities.in_order)],
        ["packets of several segments".to_owned(), yes_no(capabilities.scatter_gather)],
        ["sessions".to_owned(), or(capabilities.max_sessions, "as memory holds")],
        ["jobs in a queue pair".to_owned(), or(capabilities.queue_depth, "as configured")],
        ["jobs it likes at once".to_owned(), batch],
        ["latency of a job, ns".to_owned(), latency],
        ["session ids".to_owned(), capabilities.session_ids.to_string()],
    ];
    markdown(["driver", ""], rows)
}

fn algorithms(capabilities: &Capabilities) -> Option<String> {
    let head = ["algorithm", "family", "key bits", "tag bytes", "legacy", "largest operand, bits"];
    markdown(head, capabilities.entries().map(|entry| row(&entry)))
}

fn row(entry: &Entry<'_>) -> [String; 6] {
    let legacy = if entry.flags.legacy { "legacy" } else { "" };
    [
        entry.algorithm.to_string(),
        family(entry.algorithm).to_owned(),
        entry.keys.to_string(),
        listed(entry.tags),
        legacy.to_owned(),
        entry.max_operand_bits.map_or_else(|| "any".to_owned(), |bits| bits.to_string()),
    ]
}

fn family(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Cipher(_) => "cipher",
        Algorithm::Integrity(_) => "keyed hash",
        Algorithm::Digest(_) => "digest",
        Algorithm::Aead(_) => "AEAD",
        Algorithm::Compression(_) => "compression",
    }
}

fn key_operations(capabilities: &Capabilities) -> Option<String> {
    let rows = capabilities.key_operations.iter().map(|one| {
        let operation = one.operation;
        let operands = [operation.inputs().join(", "), operation.outputs().join(", ")];
        let [inputs, outputs] = operands;
        [operation.name().to_owned(), inputs, outputs, one.max_bits.to_string()]
    });
    markdown(["key operation", "inputs", "outputs", "largest operand, bits"], rows)
}

/// Nothing where there are no rows.
fn markdown<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Option<String> {
    let body: String = rows.into_iter().map(|row| line(&row)).collect();
    let rule = format!("|{}\n", "---|".repeat(N));
    (!body.is_empty()).then(|| line(&head) + &rule + &body)
}

fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let cell = |text: &str| if text.is_empty() { " |".to_owned() } else { format!(" {text} |") };
    let cells: String = cells.iter().map(|text| cell(text.as_ref())).collect();
    format!("|{cells}\n")
}

/// From the shortest to the longest.
fn listed(lengths: &[usize]) -> String {
    let mut lengths = lengths.to_vec();
    lengths.sort_unstable();
    lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{CipherAlgorithm, IntegrityAlgorithm};
    use crate::capability::{KeyLengths, Supported};
    use crate::key_op::{KeyOperation, KeySupport};

    #[test]
    fn a_table_has_a_row_for_each_trait_algorithm_and_key_operation() {
        let mut des = Supported::new(CipherAlgorithm::DesCbc, KeyLengths::Range(8, 8));
        des.max_operand_bits = Some(8000);
        let hmac = Supported::new(IntegrityAlgorithm::HmacSha1, KeyLengths::Range(10, 64));
        let capabilities = Capabilities {
            hardware: true,
            ciphers: vec![des],
            integrity: vec![hmac.with_tags(&[20, 12])],
            key_operations: vec![KeySupport { operation: KeyOperation::ModExp, max_bits: 1024 }],
            batch_size: 8,
            queue_depth: Some(64),
            max_sessions: Some(16),
            latency_ns: Some(5000),
            session_ids: crate::capability::SessionIdFormat::Bits(16),
            ..Capabilities::default()
        };
        let expected = "\
            | driver | |\n|---|---|\n\
            | engine outside the processor | yes |\n\
            | done when submitted | no |\n\
            | takes anything, computes nothing | no |\n\
            | jobs come back in order | no |\n\
            | packets of several segments | no |\n\
            | sessions | 16 |\n\
            | jobs in a queue pair | 64 |\n\
            | jobs it likes at once | 8 |\n\
            | latency of a job, ns | 5000 |\n\
            | session ids | of its own, 16 bits |\n\
            \n\
            | algorithm | family | key bits | tag bytes | legacy | largest operand, bits |\n|---|---|---|---|---|---|\n\
            | des-cbc | cipher | 64 | | legacy | 8000 |\n\
            | sha1-hmac | keyed hash | 80 to 512 | 12, 20 | | any |\n\
            \n\
            | key operation | inputs | outputs | largest operand, bits |\n|---|---|---|---|\n\
            | mod-exp | base, exponent, modulus | result | 1024 |\n";
        assert_eq!(table(&capabilities), expected);
    }

    #[test]
    fn a_driver_without_algorithms_has_its_traits_only() {
        let text = table(&Capabilities { anything: true, synchronous: true, ..Capabilities::default() });
        assert!(text.contains("| done when submitted | yes |\n| takes anything, computes nothing | yes |\n"));
        assert!(text.contains("| sessions | as memory holds |\n| jobs in a queue pair | as configured |\n"));
        assert!(text.ends_with("| session ids | the framework's handles |\n") && !text.contains("algorithm"));
    }
}
