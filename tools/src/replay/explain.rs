//! `--explain N`: what happens to packet N, in words.
//!
//! Nothing on the data path knows of it: the packets before N are replayed one by one, then N alone, and what the
//! counters of each half say before and after tells what was decided.

use std::sync::atomic::AtomicBool;

use ipsec_esp::counters::Counters;
use ipsec_esp::drop_reason::OutReason;
use ipsec_esp::flow_key::{FlowKey, Part};
use ipsec_esp::sa::{Mode, SaSlot};
use ipsec_esp::spd::{Action, Spd};

use crate::config::{Config, SaConfig};
use crate::failure::{Failure, print};

use super::run::Runner;
use super::verify::Sink;

/// Prints the story of packet `number`, counted from 1.
///
/// # Errors
/// No such packet, or whatever keeps the path from being built.
pub(super) fn explain(runner: &Runner<'_>, number: u32) -> Result<(), Failure> {
    let index = number as usize - 1;
    let name = &runner.source.name;
    let count = runner.source.capture.len();
    let Some(packet) = runner.source.capture.packet(index) else {
        return Err(Failure::usage(format_args!(
            "{name}: --explain {number}: the capture has {count} packets"
        )));
    };
    let mut story = vec![format!("packet {number} of {count} in {name}, {} bytes", packet.data.len())];
    if packet.is_truncated() {
        story.push(format!(
            "cut short by the capture ({} bytes on the wire): dropped, capture_truncated",
            packet.original_len
        ));
    } else {
        tell_frame(runner, packet.data, &mut story);
        tell_path(runner, index, &mut story)?;
    }
    print(&story.join("\n"))
}

fn tell_frame(runner: &Runner<'_>, frame: &[u8], story: &mut Vec<String>) {
    let Some(network) = runner.link.parse(frame) else {
        return story.push("too short for its link header: passes as not IP".to_owned());
    };
    if network.version.is_none() {
        return story.push(format!("{} bytes of link header, then no IP", network.l2_len));
    }
    match frame.get(usize::from(network.l2_len)..).map(FlowKey::parse) {
        Some(Ok(flow)) => {
            let padding = frame.len() - usize::from(network.l2_len) - flow.total_len as usize;
            story.push(format!(
                "{} bytes of link header, IP packet of {} bytes, {padding} bytes of link padding: {}, {}",
                network.l2_len,
                flow.total_len,
                flow.key,
                part_in_words(flow.part)
            ));
        }
        Some(Err(error)) => story.push(format!("IP headers cannot be read: {error}")),
        None => {}
    }
}

fn part_in_words(part: Part) -> &'static str {
    match part {
        Part::Whole => "a whole packet",
        Part::First => "a first fragment",
        Part::Later => "a later fragment, whose ports cannot be seen",
    }
}

fn mode_in_words(mode: Mode) -> String {
    match mode {
        Mode::Tunnel { src, dst } => format!("tunnel {src} > {dst}"),
        Mode::Transport { destination: Some(destination) } => format!("transport to {destination}"),
        Mode::Transport { destination: None } => "transport".to_owned(),
    }
}

/// Replays the packets up to this one, then this one alone.
fn tell_path(runner: &Runner<'_>, index: usize, story: &mut Vec<String>) -> Result<(), Failure> {
    let (path, _held) = runner.path()?;
    let mut core = runner.core_of(path, Sink::null(), 1)?;
    // A burst of one and a stop flag that is up: each call moves one packet.
    let one_turn = AtomicBool::new(true);
    while core.rx.position() < index {
        core.run(&one_turn);
    }
    let before = Snapshot::of(&mut core.stage);
    while core.rx.position() <= index {
        core.run(&one_turn);
    }
    let key = runner.source.capture.packet(index).and_then(|packet| key_of(runner, packet.data));
    Snapshot::of(&mut core.stage).tell_since(&before, runner.config, key, story);
    Ok(())
}

fn key_of(runner: &Runner<'_>, frame: &[u8]) -> Option<FlowKey> {
    let network = runner.link.parse(frame)?;
    network.version?;
    FlowKey::parse(frame.get(usize::from(network.l2_len)..)?).ok().map(|flow| flow.key)
}

/// Counters of both halves at one moment.
struct Snapshot {
    outbound: Option<Half>,
    inbound: Option<Half>,
}

struct Half {
    counters: Counters,
    spd: Spd,
    /// What each SA had seen, by its place in the direction's table.
    sas: Vec<Seen>,
}

/// Packets of an SA, and its last number: sent, or the highest received.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    packets: u64,
    number: u64,
}

impl Snapshot {
    fn of(path: &mut super::path::Path) -> Self {
        let outbound = path.outbound().map(|half| Half {
            counters: half.counters().clone(),
            spd: half.spd().clone(),
            sas: seen(|slot| {
                let (packets, _) = half.sa_totals(slot)?;
                Some(Seen { packets, number: half.next_sequence(slot).map_or(u64::MAX, |next| next - 1) })
            }),
        });
        let inbound = path.inbound().map(|half| Half {
            counters: half.counters().clone(),
            spd: half.spd().clone(),
            sas: seen(|slot| {
                let (packets, _) = half.sa_totals(slot)?;
                Some(Seen { packets, number: half.highest_sequence(slot)? })
            }),
        });
        Self { outbound, inbound }
    }

    fn tell_since(&self, before: &Self, config: &Config, key: Option<FlowKey>, story: &mut Vec<String>) {
        if let (Some(now), Some(then)) = (&self.outbound, &before.outbound) {
            story.push("outbound:".to_owned());
            now.tell_policy(config, ipsec_esp::spd::Direction::Outbound, key, story);
            now.tell_since(then, config, ipsec_esp::spd::Direction::Outbound, story);
        }
        if let (Some(now), Some(then)) = (&self.inbound, &before.inbound) {
            story.push("inbound:".to_owned());
            now.tell_since(then, config, ipsec_esp::spd::Direction::Inbound, story);
        }
    }
}

fn seen(of: impl Fn(SaSlot) -> Option<Seen>) -> Vec<Seen> {
    (0..).map_while(|slot| of(SaSlot(slot))).collect()
}

impl Half {
    fn tell_policy(
        &self,
        config: &Config,
        direction: ipsec_esp::spd::Direction,
        key: Option<FlowKey>,
        story: &mut Vec<String>,
    ) {
        let Some(key) = key else { return };
        let Some((_, policy)) = self.spd.lookup(&key) else {
            return story.push("  no policy matches: discard".to_owned());
        };
        let action = match &policy.action {
            Action::Bypass => "bypass".to_owned(),
            Action::Discard => "discard".to_owned(),
            Action::Protect(slots) => {
                let names: Vec<_> = slots
                    .iter()
                    .filter_map(|slot| sa_of(config, direction, slot.0 as usize))
                    .map(|sa| sa.name.as_str())
                    .collect();
                format!("protect with {}", names.join(", "))
            }
        };
        story.push(format!("  policy of priority {}: {} -> {action}", policy.priority, policy.selector));
    }

    fn tell_since(
        &self,
        then: &Self,
        config: &Config,
        direction: ipsec_esp::spd::Direction,
        story: &mut Vec<String>,
    ) {
        for (place, (now, before)) in self.sas.iter().zip(&then.sas).enumerate() {
            if now != before
                && let Some(sa) = sa_of(config, direction, place)
            {
                let (params, mode) = (&sa.params, mode_in_words(sa.params.mode));
                let Seen { packets, number } = now;
                story.push(format!(
                    "  SA {}: SPI {}, {}, {mode}, packet {packets} of this SA, sequence number {number}",
                    sa.name, params.spi, params.suite
                ));
            }
        }
        let (now, before) = (&self.counters, &then.counters);
        let bytes = (now.ip_bytes_in - before.ip_bytes_in, now.ip_bytes_out - before.ip_bytes_out);
        for (reason, count) in now.sent.iter() {
            if count > before.sent.count(reason) {
                story.push(match reason {
                    OutReason::BypassedNonIp => "  passes unchanged: bypassed_non_ip".to_owned(),
                    reason => format!("  passes: {reason}, {} bytes in, {} bytes out", bytes.0, bytes.1),
                });
            }
        }
        for (reason, count) in now.dropped.iter() {
            if count > before.dropped.count(reason) {
                story.push(format!("  dropped: {reason}"));
            }
        }
        for (reason, count) in now.absorbed.iter() {
            if count > before.absorbed.count(reason) {
                story.push(format!("  absorbed: {reason}"));
            }
        }
    }
}

/// The SA in a direction's slot: slots are given in the order of the configuration.
fn sa_of(config: &Config, direction: ipsec_esp::spd::Direction, slot: usize) -> Option<&SaConfig> {
    config.sas.iter().filter(|sa| sa.direction == direction).nth(slot)
}
