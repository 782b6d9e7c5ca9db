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
use super::flight::{Flight, Flights, Seat};
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

/// A completion whose command was given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ghost {
    pub(super) queue: u8,
    pub(super) command: Command,
    pub(super) outcome: Outcome,
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
    batch: Vec<Seat>,
    pub(super) queues: Vec<CardQueue>,
    next_queue: usize,
    flights: Flights,
    /// When each engine is free again, in nanoseconds.
    free_at: Vec<f64>,
    turns: u64,
    /// Completions that come after a reset has given their commands up.
    ghosts: Vec<Ghost>,
    /// Of a card that is a NIC.
    pub(super) port: Option<Box<Port>>,
}

impl Engine {
    pub(super) fn new(device: Arc<Device>, memory: Pool, faults: &Faults, port: Option<Box<Port>>) -> Self {
        let profile = &device.profile;
        let config = QueuePairConfig { depth: BATCH, far: false };
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
            flights: Flights::new(capacity(profile), &memory),
            free_at: vec![0.0; profile.engines],
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
        flights.give_up(queue, |flight| {
            if flight.late && ghosts.len() < ghosts.capacity() {
                let Flight { command, outcome, queue, .. } = *flight;
                ghosts.push(Ghost { queue, command, outcome });
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
                            queue.complete(&ghost.command, ghost.outcome);
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
        let room = self.flights.room().min(BATCH);
        let ready = queue.ready().min(room);
        if ready == 0 {
            return false;
        }
        self.read_commands(number, ready, now);
        if self.life != Life::Running {
            // What it had just read is lost with the rest.
            let Self { batch, flights, .. } = self;
            batch.drain(..).for_each(|seat| flights.end(seat));
            return true;
        }
        self.compute();
        self.send_off(now);
        true
    }

    /// Reads commands into `batch`, with what will go wrong with each.
    fn read_commands(&mut self, number: usize, count: usize, now: u64) {
        let mut read = 0;
        let is_calm = self.dice.is_calm();
        while read < count {
            if !is_calm && self.strikes_now(now) {
                break;
            }
            let Some(queue) = self.queues.get(number).filter(|queue| !queue.stuck) else { break };
            let Some(rings) = queue.rings() else { return };
            let sequence = queue.next.wrapping_add(read as u32);
            let command = Command::from_words(&rings.read_command(sequence));
            read += 1;
            let outcome = match command {
                None => Outcome::BadCommand,
                Some(_) if is_calm => Outcome::Done,
                Some(_) if self.happens(Fault::DescriptorError) => Outcome::BadCommand,
                Some(_) if self.happens(Fault::MemoryFault) => Outcome::MemoryFault,
                Some(_) => Outcome::Done,
            };
            let command = command.unwrap_or(Command { sequence, kind: Kind::Crypt, ..Command::NOTHING });
            if command.kind != Kind::Nothing {
                self.batch.extend(self.flights.begin(number as u8, command, outcome, now));
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
        let Self { batch, flights, queues, device, jobs, done, compute, .. } = self;
        for (place, &seat) in batch.iter().enumerate() {
            // Packets come from another core's cache: the one after the next is asked for.
            if let Some(ahead) = batch.get(place + 2).and_then(|&seat| flights.get(seat))
                && ahead.command.source.pieces == 1
            {
                device.iommu.fetch(ahead.command.source.address, ahead.command.source.len as usize);
            }
            let Some(flight) = flights.get_mut(seat).filter(|flight| flight.outcome == Outcome::Done) else {
                continue;
            };
            let Some(queue) = queues.get(usize::from(flight.queue)) else { continue };
            match take_in(queue, device, flight) {
                Ok(packet) => jobs.push_with(|| job_of(packet, &flight.command, seat)),
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
                let (seat, status) = (job.cookie() as Seat, job.status());
                if let Some(flight) = flights.get_mut(seat) {
                    flight.outcome = outcome_of(status);
                    flight.packet = Some(job.into_packet());
                }
            }
        }
    }

    /// Says when each is due.
    fn send_off(&mut self, now: u64) {
        let mut batch = std::mem::take(&mut self.batch);
        let (is_calm, is_timed) = (self.dice.is_calm(), self.device.profile.is_timed());
        let mut bytes = 0;
        for seat in batch.drain(..) {
            let Some(flight) = self.flights.get_mut(seat) else { continue };
            let len = flight.command.source.len as usize;
            bytes += len as u64;
            let (mut began, mut due) = (now, now);
            if is_timed {
                (began, due) = self.time(now, len);
            }
            let Some(flight) = self.flights.get_mut(seat) else { continue };
            (flight.began, flight.due) = (began, due);
            if !is_calm {
                self.go_wrong(seat);
            }
            let due = self.flights.get(seat).map_or(due, |flight| flight.due);
            self.flights.send(seat, due);
        }
        self.device.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.batch = batch;
    }

    /// When an engine begins so many bytes, and when the result is there.
    pub(super) fn time(&mut self, now: u64, len: usize) -> (u64, u64) {
        let busy = self.device.profile.busy_ns(len);
        let Some(engine) = self.free_at.iter_mut().min_by(|one, other| one.total_cmp(other)) else {
            return (now, now);
        };
        let start = engine.max(now as f64);
        *engine = start + busy;
        let ready = *engine;
        (start as u64, ready as u64 + 1 + self.latency())
    }

    /// What goes wrong with a command on its way back.
    #[cold]
    fn go_wrong(&mut self, seat: Seat) {
        let Some(flight) = self.flights.get(seat) else { return };
        let (decrypts, span) =
            (flight.outcome == Outcome::Done && flight.command.decrypt, flight.due - flight.began);
        let is_rejected = decrypts && self.happens(Fault::IcvError);
        let late = self.dice.strikes(Fault::Late);
        if late.is_some() {
            self.device.counters.struck(Fault::Late);
        }
        let overtaken = self.happens(Fault::OutOfOrder);
        let never = self.happens(Fault::Never);
        let twice = self.happens(Fault::Twice);
        let Some(flight) = self.flights.get_mut(seat) else { return };
        if is_rejected {
            flight.outcome = Outcome::IntegrityFailed;
        }
        (flight.late, flight.twice) = (late.is_some(), twice);
        flight.due =
            flight.due.saturating_add(late.unwrap_or(0)).saturating_add(if overtaken { 4 * span } else { 0 });
        if never {
            flight.due = u64::MAX;
        }
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
        let (mut completions, mut queues_rung) = (0_u64, 0_u64);
        let mut all = true;
        let Self { queues, device, flights, .. } = self;
        while let Some(seat) = flights.pop_due(now) {
            let Some(flight) = flights.get_mut(seat) else { continue };
            let number = usize::from(flight.queue);
            let Some(queue) = queues.get_mut(number) else { continue };
            let count = if flight.twice { 2 } else { 1 };
            if !queue.can_complete(number, &device.registers, count) {
                flights.put_back(seat);
                all = false;
                break;
            }
            if let Some(packet) = flight.packet.as_ref().filter(|_| flight.outcome == Outcome::Done) {
                let command = &flight.command;
                let elsewhere = command.destination.pieces > 0;
                let (start, bytes) = if elsewhere { (0, packet.data()) } else { result_of(command, packet) };
                if queue.write(&device.iommu, command, elsewhere, start, bytes).is_err() {
                    flight.outcome = Outcome::MemoryFault;
                }
            }
            if flight.outcome == Outcome::MemoryFault {
                let faults = device.registers.peek(registers::MEMORY_FAULTS);
                device.registers.poke(registers::MEMORY_FAULTS, faults + 1);
            }
            (0..count).for_each(|_| queue.complete(&flight.command, flight.outcome));
            completions += u64::from(count);
            queues_rung |= 1 << number;
            flights.end(seat);
        }
        if completions > 0 {
            let cause = device.registers.peek(registers::INTERRUPT_CAUSE);
            device.registers.poke(registers::INTERRUPT_CAUSE, cause | queues_rung);
            device.counters.completions.fetch_add(completions, Ordering::Relaxed);
        }
        all
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

/// A command's packet, in the card's own memory.
#[inline]
fn take_in(queue: &CardQueue, device: &Device, flight: &mut Flight) -> Result<Mbuf, Outcome> {
    let command = &flight.command;
    let len = command.source.len as usize;
    if len > device.profile.max_packet || command.kind != Kind::Crypt {
        return Err(Outcome::BadCommand);
    }
    if command.destination.pieces > 0 && (command.destination.len as usize) < len {
        return Err(Outcome::BadRange);
    }
    // What is written later must be allowed now, or half of it might be written.
    for (address, len) in queue.pieces(command, command.destination.pieces > 0) {
        device.iommu.check(address, len).map_err(|_| Outcome::MemoryFault)?;
    }
    let packet = flight.packet.as_mut().ok_or(Outcome::BadCommand)?;
    packet.truncate(len);
    let missing = len - packet.packet_len();
    packet.append(missing).ok_or(Outcome::BadCommand)?;
    queue.read(&device.iommu, command, packet.data_mut()).map_err(|_| Outcome::MemoryFault)?;
    flight.packet.take().ok_or(Outcome::BadCommand)
}

/// A card in which nothing turns has no power: it touches nothing any more, and does not answer.
impl Drop for Engine {
    fn drop(&mut self) {
        self.device.registers.set_present(false);
    }
}

#[inline]
fn job_of(packet: Mbuf, command: &Command, seat: Seat) -> Job {
    let (slot, generation) = split(command.session);
    let operation = if command.decrypt { Operation::Decrypt } else { Operation::Encrypt };
    let job = Job::new(packet, SessionId::new(slot, generation), operation)
        .with_cipher(command.cipher.0, command.cipher.1)
        .with_integrity(command.integrity.0, command.integrity.1)
        .with_iv(command.iv)
        .with_tag(command.tag)
        .with_cookie(seat.into());
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
