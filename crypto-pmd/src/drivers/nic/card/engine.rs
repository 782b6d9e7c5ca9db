//! What turns in a card: reads commands, computes, brings results back when they are due, and fails as it is told.
//!
//! A turn does everything that lies before now in the order of its times, then looks at the doorbells. An engine is busy with a command for as
//! long as its bytes take at the profile's bandwidth; the result is due a latency later. Bytes are written when it is due, all at once; what a
//! reset or a removal meets half-way has half of its bytes written over its source.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pipeline::{Mbuf, Pool};

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::nic::bus::command::{Command, Kind, Outcome};
use crate::drivers::nic::bus::registers::{self, Role};
use crate::drivers::nic::profile::Profile;
use crate::job::{Job, JobBurst, Operation, Status};
use crate::session::SessionId;

use super::Device;
use super::control::split;
use super::fault::{Dice, Fault, Faults, Strike};
use super::flight::{Flight, Flights};
use super::port::Port;
use super::queue::CardQueue;

/// Commands that are computed together.
pub(super) const BATCH: usize = 64;

/// Commands that a card has inside: what its engines and its latency hold, and a burst to choose from.
pub(super) fn capacity(profile: &Profile) -> usize {
    let latency = profile.latency.ns + profile.latency.jitter_ns;
    let busy = profile.busy_ns(64).max(1.0);
    let each = (latency as f64 / busy).ceil() as usize + 1;
    (profile.engines * each).clamp(2 * profile.burst, 4096)
}

/// How it is with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// Its engines stand still, since then.
    Hung(u64),
    /// A reset by this number is over then; 0 for one that nobody asked for.
    Resetting {
        until: u64,
        number: u64,
    },
    /// It is out of its slot until then.
    Out {
        until: u64,
    },
}

/// What turns in a card.
#[derive(Debug)]
pub struct Engine {
    pub(super) device: Arc<Device>,
    life: Life,
    /// The link is down until then.
    link_up_at: Option<u64>,
    /// The number of the last reset that was asked for and heard.
    reset_heard: u64,
    pub(super) dice: Dice,
    compute: Box<dyn QueuePair>,
    jobs: JobBurst,
    done: JobBurst,
    /// What was read just now.
    batch: Vec<Flight>,
    pub(super) queues: Vec<CardQueue>,
    next_queue: usize,
    flights: Flights,
    memory: Pool,
    /// When each engine is free again, in nanoseconds.
    pub(super) free_at: Vec<f64>,
    room: usize,
    turns: u64,
    /// Completions that come after a reset has given their commands up.
    pub(super) ghosts: Vec<Flight>,
    /// Of a card that is a NIC.
    pub(super) port: Option<Box<Port>>,
}

impl Engine {
    pub(super) fn new(device: Arc<Device>, memory: Pool, faults: &Faults, port: Option<Box<Port>>) -> Self {
        let profile = &device.profile;
        let config = QueuePairConfig { depth: BATCH, far: false };
        let room = capacity(profile);
        Self {
            life: Life::Running,
            link_up_at: None,
            reset_heard: 0,
            dice: Dice::new(faults, 0),
            compute: device.control.compute.queue_pair(&config),
            jobs: JobBurst::new(),
            done: JobBurst::new(),
            batch: Vec::with_capacity(BATCH),
            queues: (0..profile.queues).map(|_| CardQueue::default()).collect(),
            next_queue: 0,
            flights: Flights::with_capacity(room + BATCH),
            memory,
            free_at: vec![0.0; profile.engines],
            room,
            turns: 0,
            ghosts: Vec::with_capacity(BATCH),
            port,
            device,
        }
    }

    /// One turn: whatever is due by now, then what is new. True when there was something.
    pub fn step(&mut self) -> bool {
        let now = self.device.now();
        let mut worked = self.look_at_reset(now);
        worked |= self.run_events(now);
        if self.life == Life::Running {
            self.turns += 1;
            self.device.registers.poke(registers::HEARTBEAT, self.turns);
            worked |= self.serve(now);
            // What takes no time is done in the same turn.
            worked |= self.run_events(self.device.now());
        } else if self.port.is_some() {
            worked |= self.lose_arrivals();
        }
        worked
    }

    /// When something happens next without anybody doing anything, in nanoseconds.
    #[must_use]
    pub fn next_event(&self) -> Option<u64> {
        let port = || self.port.as_ref().and_then(|port| port.next_due());
        let flights = if self.life == Life::Running {
            [self.flights.next_due(), port()].into_iter().flatten().min()
        } else {
            None
        };
        let life = match self.life {
            Life::Running | Life::Hung(_) => None,
            Life::Resetting { until, .. } | Life::Out { until } => Some(until),
        };
        [flights.filter(|&due| due != u64::MAX), life, self.dice.next_time(), self.link_up_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Other faults than before, from now on.
    pub fn set_faults(&mut self, faults: &Faults) {
        self.dice = Dice::new(faults, 0);
        self.device.control.set_faults(faults);
    }

    /// Commands inside.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Everything up to now, in the order of its times.
    fn run_events(&mut self, now: u64) -> bool {
        let mut worked = false;
        while let Some(at) = self.next_event().filter(|&at| at <= now) {
            worked = true;
            if let Some(strike) = self.dice.due(at) {
                self.strike(strike);
            } else if self.link_up_at == Some(at) {
                self.link_up_at = None;
                self.device.registers.poke(registers::LINK, 1);
            } else if self.life == Life::Running {
                let is_stuck = !self.bring_back(at) | !self.move_frames(at);
                if is_stuck {
                    break;
                }
            } else {
                self.recover(at);
            }
        }
        worked
    }

    /// A fault whose time has come, or whose occasion.
    fn strike(&mut self, Strike { fault, at, duration }: Strike) {
        match fault {
            Fault::EngineHang | Fault::Reset | Fault::RingStuck if self.life != Life::Running => {}
            Fault::EngineHang => {
                self.device.counters.struck(fault);
                self.device.control.hung.store(true, Ordering::Release);
                self.life = Life::Hung(at);
            }
            Fault::Reset => {
                self.device.counters.struck(fault);
                self.begin_reset(at, 0);
            }
            Fault::RingStuck => {
                // The one with the most to do.
                let fullest = self.queues.iter_mut().max_by_key(|queue| queue.ready());
                if let Some(queue) = fullest {
                    queue.stuck = true;
                    self.device.counters.struck(fault);
                }
            }
            Fault::LinkDown => {
                self.device.counters.struck(fault);
                self.device.registers.poke(registers::LINK, 0);
                self.link_up_at = Some(at.saturating_add(duration));
            }
            Fault::Removal => {
                self.device.counters.struck(fault);
                self.give_up(None, at);
                self.device.registers.set_present(false);
                self.life = Life::Out { until: at.saturating_add(duration) };
            }
            Fault::SaTableFull => {
                self.device.control.full_until.store(at.saturating_add(duration), Ordering::Release);
            }
            // At their next occasion.
            _ => self.dice.arm(fault),
        }
    }

    /// Hears whether the driver asks for a reset.
    #[inline]
    fn look_at_reset(&mut self, now: u64) -> bool {
        let number = self.device.registers.peek(registers::RESET);
        if number == self.reset_heard || matches!(self.life, Life::Out { .. }) {
            return false;
        }
        self.reset_heard = number;
        self.begin_reset(now, number);
        true
    }

    fn begin_reset(&mut self, at: u64, number: u64) {
        let stopped = if let Life::Hung(since) = self.life { since } else { at };
        self.give_up(None, stopped);
        self.device.registers.poke(registers::STATE, registers::RESETTING);
        self.device.counters.resets.fetch_add(1, Ordering::Relaxed);
        self.life = Life::Resetting { until: at + self.device.profile.reset_us * 1000, number };
    }

    /// A reset is over, or the card is back in its slot.
    fn recover(&mut self, at: u64) {
        let device = Arc::clone(&self.device);
        device.control.hung.store(false, Ordering::Release);
        self.queues.iter_mut().for_each(|queue| *queue = CardQueue::default());
        (0..self.queues.len()).for_each(|queue| {
            device.registers.poke(registers::OfQueue::Enable.of(queue), 0);
        });
        self.free_at.iter_mut().for_each(|free| *free = at as f64);
        match self.life {
            Life::Resetting { number, .. } => {
                if !device.profile.keeps_sessions {
                    device.control.forget_all();
                }
                device.registers.poke(registers::STATE, registers::READY);
                if number > 0 {
                    device.registers.poke(registers::RESETS, number);
                }
            }
            _ => {
                device.control.forget_all();
                device.present();
                self.reset_heard = 0;
                device.registers.set_present(true);
            }
        }
        self.life = Life::Running;
    }

    /// Everything under way ends where it is, of one queue pair or of all: what an engine had begun to write over its source stays so.
    fn give_up(&mut self, queue: Option<u8>, at: u64) {
        if let Some(port) = &mut self.port {
            port.give_up(queue, &self.device.counters, &mut self.ghosts);
        }
        let Self { flights, queues, device, ghosts, .. } = self;
        flights.give_up(queue, |mut flight| {
            if flight.late && ghosts.len() < ghosts.capacity() {
                let packet = flight.packet.take();
                ghosts.push(flight);
                let Some(ghost) = ghosts.last() else { return };
                flight = Flight { packet, ..*ghost };
            }
            let (Some(queue), Some(packet)) = (queues.get(usize::from(flight.queue)), &flight.packet) else {
                return;
            };
            if flight.outcome != Outcome::Done || flight.command.destination.pieces > 0 || at <= flight.began
            {
                return;
            }
            let (start, bytes) = result_of(&flight.command, packet);
            let span = flight.due.saturating_sub(flight.began).max(1) as f64;
            let part = (at - flight.began) as f64 / span;
            let written = (bytes.len() as f64 * part.min(1.0)) as usize;
            // As far as it came; who asks is told nothing any more.
            let _ = queue.write(
                &device.iommu,
                &flight.command,
                false,
                start,
                bytes.get(..written).unwrap_or_default(),
            );
        });
    }

    /// Looks at the queue pairs in turn, and begins what there is room for.
    fn serve(&mut self, now: u64) -> bool {
        let mut worked = false;
        for turn in 0..self.queues.len() {
            let number = (self.next_queue + turn) % self.queues.len();
            if self.queues.get(number).is_some_and(|queue| queue.has_changed(number, &self.device.registers))
            {
                self.give_up(Some(number as u8), now);
                if let Some(queue) = self.queues.get_mut(number) {
                    queue.set_up(number, &self.device.registers, &self.device.iommu);
                    self.ghosts.retain(|ghost| {
                        let is_of_it = usize::from(ghost.queue) == number;
                        if is_of_it {
                            queue.complete(ghost);
                        }
                        !is_of_it
                    });
                }
            }
            worked |= self.serve_queue(number, now);
            if self.life != Life::Running {
                return true;
            }
        }
        self.next_queue = (self.next_queue + 1) % self.queues.len();
        if self.port.is_some() {
            worked |= self.take_arrivals(now);
        }
        worked
    }

    fn serve_queue(&mut self, number: usize, now: u64) -> bool {
        let Some(queue) = self.queues.get_mut(number) else { return false };
        if let Some(tail) = queue.is_rung(number, &self.device.registers) {
            self.device.counters.doorbells.fetch_add(1, Ordering::Relaxed);
            match self.dice.strikes(Fault::DoorbellLost) {
                Some(_) => self.device.counters.struck(Fault::DoorbellLost),
                None => queue.tail = tail,
            }
        }
        if queue.role != Role::Crypt && self.port.is_some() {
            return self.serve_port(number, now);
        }
        let room = self.room.saturating_sub(self.flights.len()).min(BATCH);
        let ready = queue.ready().min(room);
        if ready == 0 {
            return false;
        }
        self.read_commands(number, ready, now);
        self.compute();
        self.send_off(now);
        true
    }

    /// Reads commands into `batch`, with what will go wrong with each.
    fn read_commands(&mut self, number: usize, count: usize, now: u64) {
        let mut read = 0;
        while read < count && self.life == Life::Running {
            if self.strikes_now(now) {
                break;
            }
            let Some(queue) = self.queues.get(number) else { return };
            let Some(rings) = queue.rings() else { return };
            let sequence = queue.next.wrapping_add(read as u32);
            let command = Command::from_words(&rings.read_command(sequence));
            read += 1;
            let bad = Command { sequence, ..EMPTY };
            let mut flight = Flight {
                queue: number as u8,
                command: command.unwrap_or(bad),
                packet: None,
                outcome: Outcome::Done,
                began: now,
                due: 0,
                twice: false,
                late: false,
            };
            if command.is_none() || self.happens(Fault::DescriptorError) {
                flight.outcome = Outcome::BadCommand;
            } else if self.happens(Fault::MemoryFault) {
                flight.outcome = Outcome::MemoryFault;
            }
            if flight.command.kind != Kind::Nothing {
                self.batch.push(flight);
            }
        }
        if let Some(queue) = self.queues.get_mut(number) {
            queue.next = queue.next.wrapping_add(read as u32);
            // Said before anything is touched.
            if let Some(rings) = queue.rings() {
                rings.set_begun(queue.next);
            }
        }
        self.device.counters.commands.fetch_add(read as u64, Ordering::Relaxed);
    }

    /// Faults of the whole card whose occasion is that a command is read; true when nothing more is read.
    pub(super) fn strikes_now(&mut self, now: u64) -> bool {
        for fault in [Fault::EngineHang, Fault::Reset, Fault::RingStuck, Fault::LinkDown, Fault::Removal] {
            if let Some(duration) = self.dice.strikes(fault) {
                self.strike(Strike { fault, at: now, duration });
            }
        }
        self.life != Life::Running
    }

    pub(super) fn happens(&mut self, fault: Fault) -> bool {
        let happens = self.dice.strikes(fault).is_some();
        if happens {
            self.device.counters.struck(fault);
        }
        happens
    }

    /// Takes packets in and has them computed.
    fn compute(&mut self) {
        let Self { batch, queues, device, memory, jobs, done, compute, .. } = self;
        for (place, flight) in
            batch.iter_mut().enumerate().filter(|(_, flight)| flight.outcome == Outcome::Done)
        {
            let Some(queue) = queues.get(usize::from(flight.queue)) else { continue };
            match take_in(queue, device, memory, &flight.command) {
                Ok(packet) => jobs.push_with(|| job_of(packet, &flight.command, place)),
                Err(outcome) => flight.outcome = outcome,
            }
        }
        loop {
            compute.submit(jobs);
            compute.poll(done);
            if done.is_empty() && jobs.is_empty() {
                break;
            }
            for job in done.drain() {
                let Some(flight) = batch.get_mut(job.cookie() as usize) else { continue };
                flight.outcome = outcome_of(job.status());
                flight.packet = Some(job.into_packet());
            }
        }
    }

    /// Says when each is due.
    fn send_off(&mut self, now: u64) {
        let mut batch = std::mem::take(&mut self.batch);
        for mut flight in batch.drain(..) {
            if flight.outcome == Outcome::Done && flight.command.decrypt && self.happens(Fault::IcvError) {
                flight.outcome = Outcome::IntegrityFailed;
            }
            let len = flight.command.source.len as usize;
            let busy = self.device.profile.busy_ns(len);
            let Some(engine) = self.free_at.iter_mut().min_by(|one, other| one.total_cmp(other)) else {
                continue;
            };
            let start = engine.max(now as f64);
            *engine = start + busy;
            let ready = *engine;
            let latency = self.latency();
            flight.began = start as u64;
            flight.due = (ready + latency as f64).ceil() as u64;
            self.device.counters.bytes.fetch_add(len as u64, Ordering::Relaxed);
            if let Some(late) = self.dice.strikes(Fault::Late) {
                self.device.counters.struck(Fault::Late);
                flight.due = flight.due.saturating_add(late);
                flight.late = true;
            }
            if self.happens(Fault::OutOfOrder) {
                flight.due = flight.due.saturating_add(4 * (busy as u64 + latency));
            }
            if self.happens(Fault::Never) {
                flight.due = u64::MAX;
            }
            flight.twice = self.happens(Fault::Twice);
            self.flights.add(flight);
        }
        self.batch = batch;
    }

    pub(super) fn latency(&mut self) -> u64 {
        let shape = self.device.profile.latency;
        let random = self.dice.random();
        let jitter = if shape.jitter_ns > 0 { random.u64(0..=shape.jitter_ns) } else { 0 };
        let is_tail = shape.tail_one_in > 0 && random.u64(0..shape.tail_one_in) == 0;
        shape.ns + jitter + if is_tail { shape.tail_ns } else { 0 }
    }

    /// Writes results and completions that are due; false when one found no room.
    fn bring_back(&mut self, now: u64) -> bool {
        while let Some(mut flight) = self.flights.pop_due(now) {
            let number = usize::from(flight.queue);
            let Self { queues, device, .. } = self;
            let Some(queue) = queues.get_mut(number) else { continue };
            let count = if flight.twice { 2 } else { 1 };
            if !queue.can_complete(number, &device.registers, count) {
                self.flights.put_back(flight);
                return false;
            }
            if let Some(packet) = flight.packet.take().filter(|_| flight.outcome == Outcome::Done) {
                let command = &flight.command;
                let elsewhere = command.destination.pieces > 0;
                let (start, bytes) = if elsewhere { (0, packet.data()) } else { result_of(command, &packet) };
                if queue.write(&device.iommu, command, elsewhere, start, bytes).is_err() {
                    flight.outcome = Outcome::MemoryFault;
                }
            }
            if flight.outcome == Outcome::MemoryFault {
                let faults = device.registers.peek(registers::MEMORY_FAULTS);
                device.registers.poke(registers::MEMORY_FAULTS, faults + 1);
            }
            (0..count).for_each(|_| queue.complete(&flight));
            let cause = device.registers.peek(registers::INTERRUPT_CAUSE);
            device.registers.poke(registers::INTERRUPT_CAUSE, cause | 1 << number);
            device.counters.completions.fetch_add(u64::from(count), Ordering::Relaxed);
        }
        true
    }

    /// Whether it is being reset or is out of its slot, so that frames which arrive are lost. One that hangs lets them wait.
    pub(super) fn is_deaf(&self) -> bool {
        matches!(self.life, Life::Resetting { .. } | Life::Out { .. })
    }

    /// How many sessions the card holds.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.device.control.session_count()
    }
}

pub(super) const EMPTY: Command = Command {
    kind: Kind::Crypt,
    decrypt: false,
    has_esn: false,
    epoch: 0,
    sequence: 0,
    session: 0,
    esn_high: 0,
    source: NO_BYTES,
    destination: NO_BYTES,
    cipher: (0, 0),
    integrity: (0, 0),
    iv: 0,
    tag: 0,
    link_len: 0,
    service: 0,
};
const NO_BYTES: crate::drivers::nic::bus::command::Extent =
    crate::drivers::nic::bus::command::Extent { address: 0, len: 0, pieces: 0 };

/// A packet, in the card's own memory.
fn take_in(queue: &CardQueue, device: &Device, memory: &Pool, command: &Command) -> Result<Mbuf, Outcome> {
    let len = command.source.len as usize;
    if len > device.profile.max_packet || command.kind != Kind::Crypt {
        return Err(Outcome::BadCommand);
    }
    let mut packet = memory.alloc().ok_or(Outcome::BadCommand)?;
    let to = packet.append(len).ok_or(Outcome::BadCommand)?;
    queue.read(&device.iommu, command, to).map_err(|_| Outcome::MemoryFault)?;
    if command.destination.pieces > 0 && (command.destination.len as usize) < len {
        return Err(Outcome::BadRange);
    }
    // What is written later must be allowed now, or half of it might be written.
    for (address, len) in queue.pieces(command, command.destination.pieces > 0) {
        device.iommu.check(address, len).map_err(|_| Outcome::MemoryFault)?;
    }
    Ok(packet)
}

fn job_of(packet: Mbuf, command: &Command, place: usize) -> Job {
    let (slot, generation) = split(command.session);
    let operation = if command.decrypt { Operation::Decrypt } else { Operation::Encrypt };
    let job = Job::new(packet, SessionId::new(slot, generation), operation)
        .with_cipher(command.cipher.0, command.cipher.1)
        .with_integrity(command.integrity.0, command.integrity.1)
        .with_iv(command.iv)
        .with_tag(command.tag)
        .with_cookie(place as u64);
    if command.has_esn { job.with_esn_high(command.esn_high) } else { job }
}

fn outcome_of(status: Status) -> Outcome {
    match status {
        Status::Done => Outcome::Done,
        Status::IntegrityFailed => Outcome::IntegrityFailed,
        Status::UnknownSession => Outcome::NoSession,
        _ => Outcome::BadRange,
    }
}

/// What differs from the source: from the cipher range or the tag on, to the end, or of a decrypted packet to the end of the range.
fn result_of<'a>(command: &Command, packet: &'a Mbuf) -> (usize, &'a [u8]) {
    let (offset, len) = (usize::from(command.cipher.0), command.cipher.1 as usize);
    let tag = command.tag as usize;
    let (start, end) = match (command.decrypt, len) {
        (true, _) => (offset, offset + len),
        (false, 0) => (tag, packet.packet_len()),
        (false, _) => (offset.min(tag), packet.packet_len()),
    };
    (start, packet.data().get(start..end).unwrap_or_default())
}
