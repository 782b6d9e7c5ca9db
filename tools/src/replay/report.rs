//! The report: one JSON object for scripts, one screen for people, and the histogram's log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use pipeline::lcore::CoreCounters;
use pipeline::stats::Named;
use serde::Serialize;

use crate::failure::{Failure, print};
use crate::kernels::Kernels;
use crate::outputs::{LatencyNs, cannot_write, is_standard, screen, write_json};

use super::drops::SaDrops;
use super::lineup::CoreSummary;
use super::options::{Direction, DriverName, Options, Rate};
use super::run::{Outcome, Runner};

/// Pairs of SA and reason that the screen shows.
const DROP_ROWS: usize = 6;

/// The report, with the names that scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    capture: String,
    direction: &'static str,
    driver: &'static str,
    level: &'static str,
    layout: &'static str,
    cores: Vec<usize>,
    burst: u8,
    packets: Packets,
    bytes: Bytes,
    seconds: f64,
    mpps: f64,
    gbps: f64,
    tsc_hz: u64,
    tsc_cycles_per_packet: f64,
    latency_kind: &'static str,
    latency_ns: LatencyNs,
    stages: BTreeMap<&'static str, Stage>,
    stage_latency_ns: BTreeMap<&'static str, LatencyNs>,
    turns: Turns,
    lcores: Vec<Lcore>,
    memory: String,
    dropped_by_stage: BTreeMap<&'static str, Named>,
    dropped_by_sa: Vec<SaDrops>,
    verified: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
struct Packets {
    r#in: u64,
    made: u64,
    out: u64,
    held: u64,
    dropped: Named,
    absorbed: Named,
    made_by: Named,
    out_by: Named,
}

#[derive(Clone, Debug, Serialize)]
struct Bytes {
    r#in: u64,
    out: u64,
}

/// What a step cost, from a sample of the bursts.
#[derive(Clone, Debug, Serialize)]
struct Stage {
    tsc_cycles_per_packet: f64,
    sampled_packets: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Turns {
    busy: u64,
    idle: u64,
    stalled: u64,
}

/// What one core did.
#[derive(Clone, Debug, Serialize)]
struct Lcore {
    core: Option<usize>,
    pinned: bool,
    role: &'static str,
    packets_in: u64,
    packets_out: u64,
    turns: Turns,
    cpu_seconds: f64,
    /// Of the cores that send.
    latency_ns: Option<LatencyNs>,
}

impl Report {
    /// Puts the figures together.
    #[must_use]
    pub fn new(options: &Options, runner: &Runner<'_>, outcome: &Outcome) -> Self {
        let ledger = &outcome.ledger;
        let plain_bytes = match options.direction {
            Direction::Outbound | Direction::Roundtrip => outcome.ip_bytes.0,
            Direction::Inbound => outcome.ip_bytes.1,
        };
        let tsc_hz = runner.clock.hz();
        let level_of = |kernels: Kernels| match (options.driver, options.family()) {
            (DriverName::Scheduler, Ok(family)) => family.level(kernels),
            _ => kernels.level.name(),
        };
        let level = options.kernels().map_or("", level_of);
        let (driver, level) = match options.driver {
            DriverName::Null => ("null", "none"),
            DriverName::Software => ("software", "portable"),
            DriverName::Scheduler => ("scheduler", level),
            _ => ("multibuffer", level),
        };
        Self {
            schema: "sealane.replay/1",
            capture: runner.source.name.clone(),
            direction: options.direction.name(),
            driver,
            level,
            layout: options.layout.name(),
            cores: cores(options, runner),
            burst: options.burst,
            packets: Packets::of(ledger),
            bytes: Bytes { r#in: outcome.ip_bytes.0, out: outcome.ip_bytes.1 },
            seconds: outcome.seconds,
            mpps: per_second(ledger.received as f64, outcome.seconds) / 1e6,
            gbps: per_second(plain_bytes as f64 * 8.0, outcome.seconds) / 1e9,
            tsc_hz: tsc_hz as u64,
            tsc_cycles_per_packet: outcome.seconds * tsc_hz / (ledger.received.max(1)) as f64,
            latency_kind: if options.rate == Rate::Max { "residence" } else { "open_loop" },
            latency_ns: LatencyNs::of(&outcome.latency),
            stages: outcome.costs.iter().filter(|cost| cost.packets > 0).map(Stage::of).collect(),
            stage_latency_ns: residences(outcome),
            turns: outcome.cores.iter().map(|core| Turns::of(&core.turns)).sum(),
            lcores: lcores(outcome),
            memory: runner.backing().to_string(),
            dropped_by_stage: ledger.dropped_by_stage.clone(),
            dropped_by_sa: outcome.dropped_by_sa.clone(),
            verified: outcome.verified,
        }
    }

    /// Writes what the options ask for; the table goes to standard output unless JSON does.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, options: &Options, outcome: &Outcome) -> Result<(), Failure> {
        if let Some(path) = &options.histogram {
            write_histogram(path, &outcome.latency, outcome.seconds)?;
        }
        match &options.json {
            Some(path) => {
                write_json(self, path)?;
                if is_standard(path) { Ok(()) } else { self.print(outcome) }
            }
            None => self.print(outcome),
        }
    }

    /// One screen.
    fn print(&self, outcome: &Outcome) -> Result<(), Failure> {
        let mut text = format!(
            "{} · {}\ndriver {} ({}) · {} · burst {} · {}\n{}\n",
            self.capture,
            self.direction,
            self.driver,
            self.level,
            self.cores_in_words(),
            self.burst,
            self.memory,
            self.table(),
        );
        if self.lcores.len() > 1 {
            text += &format!("{}\n", self.core_table());
        }
        text += &match (self.verified, &outcome.complaint) {
            (Some(true), _) => "verified: every packet that was due came through as it must".to_owned(),
            (_, Some(complaint)) => format!("NOT verified: {complaint}"),
            (Some(false), None) => "NOT verified".to_owned(),
            (None, None) => "not verified: nothing to compare with".to_owned(),
        };
        if outcome.exhausted {
            text += "\nan SA has sent its last sequence number; the rest was dropped";
        }
        print(&text)
    }

    fn cores_in_words(&self) -> String {
        match self.lcores.as_slice() {
            [_] => {
                let core = self.cores.first().map_or("not pinned".to_owned(), ToString::to_string);
                format!("core {core}")
            }
            many => format!("{} cores, {}", many.len(), self.layout),
        }
    }

    /// A row for each core.
    fn core_table(&self) -> Table {
        let mut table = screen();
        table.add_row(["core", "role", "in", "out", "busy", "idle", "stalled", "CPU s"]);
        for lcore in &self.lcores {
            let core = match (lcore.core, lcore.pinned) {
                (Some(core), true) => core.to_string(),
                _ => "unpinned".to_owned(),
            };
            table.add_row([
                core,
                lcore.role.to_owned(),
                lcore.packets_in.to_string(),
                lcore.packets_out.to_string(),
                lcore.turns.busy.to_string(),
                lcore.turns.idle.to_string(),
                lcore.turns.stalled.to_string(),
                format!("{:.3}", lcore.cpu_seconds),
            ]);
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }

    fn table(&self) -> Table {
        let mut table = screen();
        self.packet_rows(&mut table);
        self.speed_rows(&mut table);
        for column in table.column_iter_mut().skip(1).take(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn packet_rows(&self, table: &mut Table) {
        let packets = &self.packets;
        let named = |term: &Named| {
            term.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        table.add_row(["packets in", &packets.r#in.to_string(), &format!("{} bytes of IP", self.bytes.r#in)]);
        table.add_row(["packets out", &packets.out.to_string(), &named(&packets.out_by)]);
        for (name, term) in
            [("made", &packets.made_by), ("dropped", &packets.dropped), ("absorbed", &packets.absorbed)]
        {
            let total: u64 = term.values().sum();
            if total > 0 {
                table.add_row([name, &total.to_string(), &named(term)]);
            }
        }
        self.drop_rows(table);
        if packets.held > 0 {
            table.add_row(["held", &packets.held.to_string(), "still inside at the end"]);
        }
    }

    /// Which SAs the drops were of, as far as a screen has room.
    fn drop_rows(&self, table: &mut Table) {
        for drops in self.dropped_by_sa.iter().take(DROP_ROWS) {
            let sa = if drops.sa.is_empty() { "other SAs" } else { &drops.sa };
            let about = format!("{} by {sa}, {}", drops.reason, drops.direction);
            table.add_row(["", &drops.packets.to_string(), &about]);
        }
        let rest: u64 = self.dropped_by_sa.iter().skip(DROP_ROWS).map(|drops| drops.packets).sum();
        if rest > 0 {
            table.add_row(["", &rest.to_string(), "by further SAs, which --json names"]);
        }
    }

    fn speed_rows(&self, table: &mut Table) {
        table.add_row([
            "throughput",
            &format!("{:.3} Mpps", self.mpps),
            &format!("in {:.6} s", self.seconds),
        ]);
        table.add_row(["", &format!("{:.3} Gbit/s", self.gbps), "of plain IP"]);
        table.add_row([
            "cost a packet",
            &format!("{:.1}", self.tsc_cycles_per_packet),
            "TSC cycles, of which (from a sample)",
        ]);
        for (name, stage) in &self.stages {
            table.add_row(["", &format!("{:.1}", stage.tsc_cycles_per_packet), name]);
        }
        let latency = &self.latency_ns;
        table.add_row(["latency", &format!("{} ns", latency.p50), "half of the packets stayed no longer"]);
        table.add_row(["", &format!("{} ns", latency.p99), "99 %"]);
        let rest =
            format!("the longest (shortest {}, 90 % {}, 99.9 % {})", latency.min, latency.p90, latency.p999);
        table.add_row(["", &format!("{} ns", latency.max), &rest]);
    }
}

impl Packets {
    fn of(ledger: &pipeline::Ledger) -> Self {
        Self {
            r#in: ledger.received,
            made: ledger.made.values().sum(),
            out: ledger.sent,
            held: ledger.held,
            dropped: ledger.dropped.clone(),
            absorbed: ledger.absorbed.clone(),
            made_by: ledger.made.clone(),
            out_by: ledger.sent_by.clone(),
        }
    }
}

/// The processors that were asked for, or the one that was taken.
fn cores(options: &Options, runner: &Runner<'_>) -> Vec<usize> {
    match options.cores.as_slice() {
        [] => runner.cores.iter().flatten().map(|core| core.0).collect(),
        asked => asked.to_vec(),
    }
}

fn lcores(outcome: &Outcome) -> Vec<Lcore> {
    let mut lcores: Vec<_> = outcome.cores.iter().map(Lcore::of).collect();
    for (core, latency) in &outcome.core_latency {
        if let Some(lcore) = lcores.get_mut(*core) {
            lcore.latency_ns = Some(LatencyNs::of(latency));
        }
    }
    lcores
}

fn residences(outcome: &Outcome) -> BTreeMap<&'static str, LatencyNs> {
    let measured = outcome.residences.iter().filter(|(_, histogram)| !histogram.is_empty());
    measured.map(|(name, histogram)| (*name, LatencyNs::of(histogram))).collect()
}

impl Turns {
    fn of(turns: &CoreCounters) -> Self {
        Self { busy: turns.busy, idle: turns.idle, stalled: turns.stalled }
    }
}

impl std::iter::Sum for Turns {
    fn sum<I: Iterator<Item = Self>>(turns: I) -> Self {
        let add = |sum: Self, one: Self| Self {
            busy: sum.busy + one.busy,
            idle: sum.idle + one.idle,
            stalled: sum.stalled + one.stalled,
        };
        turns.fold(Self { busy: 0, idle: 0, stalled: 0 }, add)
    }
}

impl Lcore {
    fn of(core: &CoreSummary) -> Self {
        Self {
            core: core.id,
            pinned: core.pinned,
            role: core.role,
            packets_in: core.packets.0,
            packets_out: core.packets.1,
            turns: Turns::of(&core.turns),
            cpu_seconds: core.cpu_ns as f64 / 1e9,
            latency_ns: None,
        }
    }
}

impl Stage {
    fn of(cost: &pipeline::stage::StageCost) -> (&'static str, Self) {
        let cycles = cost.ticks as f64 / cost.packets as f64;
        (cost.name, Self { tsc_cycles_per_packet: cycles, sampled_packets: cost.packets })
    }
}

fn per_second(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

/// HdrHistogram's interval log with one interval, in nanoseconds.
fn write_histogram(path: &Path, histogram: &Histogram<u64>, seconds: f64) -> Result<(), Failure> {
    let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
    let mut to = BufWriter::new(file);
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("latency in nanoseconds").with_max_value_divisor(1.0);
    let broken = |error: &dyn std::fmt::Debug| {
        Failure::usage(format_args!("{}: the histogram cannot be written: {error:?}", path.display()))
    };
    let mut log =
        builder.begin_log_with(&mut to, &mut serializer).map_err(|error| cannot_write(path, &error))?;
    let span = Duration::from_secs_f64(seconds.max(0.0));
    log.write_histogram(histogram, Duration::ZERO, span, None).map_err(|error| broken(&error))?;
    to.flush().map_err(|error| cannot_write(path, &error))
}
