//! One `[[sa]]` table: its fields, what they default to, and whether they fit each other.
//!
//! Invariant: an [`SaConfig`] that exists has parameters that pass [`SaParams::check`] for its direction. That names
//! and SPIs are given once is checked over all SAs, in [`super::document`].

use std::net::IpAddr;

use crypto_pmd::Key;
use ipsec_esp::header::esp::Spi;
use ipsec_esp::sa::{Mode, Offload, SaError, SaParams, UdpEncap};
use ipsec_esp::spd::Direction;
use ipsec_esp::suite::{Suite, UnknownSuite};

use super::error::{ConfigError, Position};
use super::fields::{Fields, Shape};
use super::key::{ENCRYPTION, FoundKey, INTEGRITY};

/// Packets in a replay window of which nothing is said.
pub(super) const DEFAULT_WINDOW: u32 = 64;

/// First sequence number where none is given (RFC 4303 section 2.2).
const FIRST_SEQUENCE: u64 = 1;

pub(super) const SA: Shape = Shape {
    name: "[[sa]]",
    known: &[
        "name",
        "direction",
        "spi",
        "suite",
        "encryption_key",
        "encryption_key_file",
        "integrity_key",
        "integrity_key_file",
        "mode",
        "tunnel",
        "destination",
        "udp_encap",
        "offload",
        "esn",
        "replay_window",
        "sequence",
        "allow_legacy",
    ],
    not_built: &["lifetime", "path_mtu", "dont_fragment", "tfc_pad_to", "dscp"],
};

const TUNNEL: Shape = Shape { name: "tunnel", known: &["src", "dst"], not_built: &[] };
const UDP_ENCAP: Shape = Shape { name: "udp_encap", known: &["src_port", "dst_port"], not_built: &[] };

pub(super) const DIRECTIONS: &[(&str, Direction)] =
    &[("outbound", Direction::Outbound), ("inbound", Direction::Inbound)];

const TUNNEL_EXAMPLE: &str = "tunnel = { src = \"192.0.2.1\", dst = \"192.0.2.2\" }";

/// One SA of a configuration.
#[derive(Clone, Debug)]
pub struct SaConfig {
    /// What policies call it; no other SA has the name.
    pub name: String,
    /// On which side it is used.
    pub direction: Direction,
    /// Its parameters, which pass [`SaParams::check`] for the direction.
    pub params: SaParams,
    /// Line of its table, from 1.
    pub line: usize,
    /// Column of its table, from 1.
    pub column: usize,
}

impl SaConfig {
    pub(super) const fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }
}

/// An SA as read, and whether a key stands in the configuration itself.
#[derive(Debug)]
pub(super) struct ReadSa {
    pub(super) sa: SaConfig,
    pub(super) has_inline_key: bool,
}

pub(super) fn read(fields: &Fields<'_>, notes: &mut Vec<String>) -> Result<ReadSa, ConfigError> {
    let name = name(fields)?;
    let direction = fields
        .choice("direction", DIRECTIONS)?
        .ok_or_else(|| fields.missing("direction", "direction = \"outbound\" or \"inbound\""))?;
    let suite = suite(fields)?;
    let keys = keys(fields, suite, notes)?;
    let has_inline_key = keys.iter().flatten().any(|found| found.is_inline);
    let params = params(fields, suite, keys)?;
    check(&params, direction)
        .map_err(|error| fields.error(field_at_fault(&error, fields), error.to_string()))?;
    let Position { line, column } = fields.source().position(fields.offset());
    Ok(ReadSa { sa: SaConfig { name, direction, params, line, column }, has_inline_key })
}

fn params(fields: &Fields<'_>, suite: Suite, keys: [Option<FoundKey>; 2]) -> Result<SaParams, ConfigError> {
    let [encryption_key, integrity_key] =
        keys.map(|found| found.map_or_else(|| Key::new(&[]), |found| found.key));
    let spi = fields
        .integer("spi", 0..=u32::MAX.into(), "an integer from 0x100 to 0xffffffff")?
        .ok_or_else(|| fields.missing("spi", "spi = 0x1001, or another number from 0x100 up"))?;
    let window = fields.integer("replay_window", 0..=u32::MAX.into(), "0 for none, or 32 to 65536")?;
    let sequence = fields.integer("sequence", 0..=u64::MAX, "an integer from 1 up")?;
    Ok(SaParams {
        spi: Spi(spi),
        suite,
        encryption_key,
        integrity_key,
        mode: mode(fields)?,
        udp_encap: udp_encap(fields)?,
        esn: fields.boolean("esn")?.unwrap_or(false),
        replay_window: window.unwrap_or(DEFAULT_WINDOW),
        sequence: sequence.unwrap_or(FIRST_SEQUENCE),
        offload: offload(fields)?,
    })
}

/// An outbound SA needs no window, but the size that is given for one must exist all the same: its mirrored twin
/// uses it.
fn check(params: &SaParams, direction: Direction) -> Result<(), SaError> {
    params.check(direction == Direction::Inbound)?;
    match (params.check(true), direction) {
        (Err(SaError::EsnWithoutWindow), Direction::Outbound) => Ok(()),
        (checked, _) => checked,
    }
}

fn field_at_fault(error: &SaError, fields: &Fields<'_>) -> &'static str {
    match error {
        SaError::EncryptionKey { .. } if fields.has(ENCRYPTION.file) => ENCRYPTION.file,
        SaError::EncryptionKey { .. } => ENCRYPTION.inline,
        SaError::IntegrityKey { .. } if fields.has(INTEGRITY.file) => INTEGRITY.file,
        SaError::IntegrityKey { .. } => INTEGRITY.inline,
        SaError::ReservedSpi(_) => "spi",
        SaError::MixedTunnel { .. } => "tunnel",
        SaError::Window(_) | SaError::EsnWithoutWindow => "replay_window",
        SaError::Sequence { .. } => "sequence",
        SaError::InlineChecksum => "offload",
        // What is added to the errors later points at the table.
        _ => "",
    }
}

fn name(fields: &Fields<'_>) -> Result<String, ConfigError> {
    let right = "a name as a string";
    let name = fields.string("name", right)?.ok_or_else(|| fields.missing("name", "name = \"east-out\""))?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(
            fields.error("name", "name is empty or holds control characters; write printable characters")
        );
    }
    Ok(name.to_owned())
}

fn offload(fields: &Fields<'_>) -> Result<Offload, ConfigError> {
    const OFFLOADS: &[(&str, Offload)] = &[
        (Offload::Lookaside.name(), Offload::Lookaside),
        (Offload::InlineCrypto.name(), Offload::InlineCrypto),
        (Offload::InlineProtocol.name(), Offload::InlineProtocol),
    ];
    Ok(fields.choice("offload", OFFLOADS)?.unwrap_or_default())
}

fn suite(fields: &Fields<'_>) -> Result<Suite, ConfigError> {
    let right = "the name of a suite as a string";
    let name =
        fields.string("suite", right)?.ok_or_else(|| fields.missing("suite", "suite = \"aes128gcm16\""))?;
    let parsed = match fields.boolean("allow_legacy")? {
        Some(true) => Suite::parse_with_legacy(name),
        _ => Suite::parse(name),
    };
    parsed.map_err(|error| match error {
        UnknownSuite::Legacy { .. } => {
            fields.error("suite", format!("{error}, or write allow_legacy = true for this SA"))
        }
        _ => fields.error("suite", error.to_string()),
    })
}

/// The encryption and the integrity key; each is there where the suite takes one.
fn keys(
    fields: &Fields<'_>,
    suite: Suite,
    notes: &mut Vec<String>,
) -> Result<[Option<FoundKey>; 2], ConfigError> {
    let encryption = ENCRYPTION.read(fields, notes)?;
    let integrity = INTEGRITY.read(fields, notes)?;
    if let (None, wanted @ 1..) = (&encryption, suite.encryption_key_len()) {
        let right = format!("{wanted} bytes in hex for {suite} (cipher key, then salt)");
        return Err(fields.missing(ENCRYPTION.inline, &right));
    }
    if let (None, wanted @ 1..) = (&integrity, suite.integrity_key_len()) {
        return Err(fields.missing(INTEGRITY.inline, &format!("{wanted} bytes in hex for {suite}")));
    }
    if let (Some(found), 0) = (&integrity, suite.integrity_key_len()) {
        let message =
            format!("{suite} takes no integrity key, its cipher authenticates; remove {}", found.field);
        return Err(fields.error(found.field, message));
    }
    Ok([encryption, integrity])
}

fn mode(fields: &Fields<'_>) -> Result<Mode, ConfigError> {
    const IS_TUNNEL: &[(&str, bool)] = &[("tunnel", true), ("transport", false)];
    let is_tunnel = match fields.choice("mode", IS_TUNNEL)? {
        Some(is_tunnel) => is_tunnel,
        None if fields.has("tunnel") => true,
        None => return Err(fields.missing("mode", "mode = \"tunnel\" or \"transport\"")),
    };
    if is_tunnel { tunnel(fields) } else { transport(fields) }
}

fn tunnel(fields: &Fields<'_>) -> Result<Mode, ConfigError> {
    if fields.has("destination") {
        return Err(fields.error(
            "destination",
            "destination belongs to transport mode; remove it, tunnel.dst is the destination",
        ));
    }
    let ends = fields.table("tunnel", &TUNNEL)?.ok_or_else(|| fields.missing("tunnel", TUNNEL_EXAMPLE))?;
    let end = |field| {
        let right = "an IPv4 or IPv6 address as a string";
        ends.parsed::<IpAddr>(field, right)?.ok_or_else(|| ends.missing(field, &format!("{field}, {right}")))
    };
    Ok(Mode::Tunnel { src: end("src")?, dst: end("dst")? })
}

fn transport(fields: &Fields<'_>) -> Result<Mode, ConfigError> {
    if fields.has("tunnel") {
        return Err(
            fields.error("tunnel", "tunnel belongs to tunnel mode; remove it, or write mode = \"tunnel\"")
        );
    }
    let destination = fields.parsed("destination", "an IPv4 or IPv6 address as a string")?;
    Ok(Mode::Transport { destination })
}

fn udp_encap(fields: &Fields<'_>) -> Result<Option<UdpEncap>, ConfigError> {
    let Some(ports) = fields.table("udp_encap", &UDP_ENCAP)? else { return Ok(None) };
    let port = |field| {
        ports
            .integer(field, 1..=u16::MAX.into(), "a port from 1 to 65535")?
            .ok_or_else(|| ports.missing(field, &format!("{field} = 4500")))
    };
    Ok(Some(UdpEncap { src_port: port("src_port")?, dst_port: port("dst_port")? }))
}
