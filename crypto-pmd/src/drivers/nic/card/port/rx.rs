//! Frames that arrive: looked up, treated where they are ESP of an SA on the card, and put into the next buffer of the host.

use pipeline::Mbuf;

use crate::drivers::nic::bus::command::{Command, Kind, Outcome};
use crate::drivers::nic::bus::receipt::{Receipt, Report};
use crate::drivers::nic::bus::registers::{self, Role};
use crate::drivers::nic::card::esp::{self, Arrived, Ranges, SaTable, Stripped};
use crate::drivers::nic::card::fault::Fault;
use crate::inline::{RxOutcome, Service};
use crate::job::{Operation, Status};

use super::{BATCH, Engine, Frames, Port};

/// A frame in work.
struct Incoming {
    queue: usize,
    frame: Option<Mbuf>,
    /// Bytes as it came.
    len: usize,
    /// ESP of an SA on the card.
    esp: Option<Esp>,
}

struct Esp {
    handle: u32,
    arrived: Arrived,
    number: u64,
    ranges: Option<Ranges>,
    outcome: RxOutcome,
    service: Service,
    esn: bool,
}

impl Engine {
    /// Takes buffers of the host.
    pub(super) fn serve_rx(&mut self, number: usize, now: u64) -> bool {
        let ready = self.queues.get(number).map_or(0, |queue| queue.ready());
        if ready == 0 {
            return false;
        }
        let mut batch: Vec<(Command, Outcome)> = Vec::with_capacity(ready);
        self.read_frames(number, ready, now, |command, outcome| batch.push((command, outcome)));
        if self.is_deaf() {
            return true;
        }
        for (command, outcome) in batch {
            let is_buffer = command.kind == Kind::Receive && command.source.pieces == 1;
            let outcome = if is_buffer || outcome != Outcome::Done { outcome } else { Outcome::BadCommand };
            match outcome {
                Outcome::Done => {
                    if let Some((posted, is_ethernet)) =
                        self.port.as_mut().and_then(|port| port.posted.get_mut(number))
                    {
                        *is_ethernet = command.link_len > 0;
                        posted.push_back(command);
                    }
                }
                _ if command.kind == Kind::Nothing => {}
                _ => self.complete_at(now, (number as u8, command), outcome, None),
            }
        }
        true
    }

    /// Takes frames from the wire, as many as there is room for.
    pub(in crate::drivers::nic::card) fn take_arrivals(&mut self, now: u64) -> bool {
        let is_up = self.device.registers.peek(registers::LINK) == 1;
        let Some(port) = &self.port else { return false };
        let room = port.room.saturating_sub(port.arrived()).min(BATCH);
        let mut batch: Vec<Incoming> = Vec::new();
        let mut taken = 0;
        while taken < room
            && let Some(frame) = self.device.wire.take()
        {
            taken += 1;
            self.device.counters.frame(Frames::Rx);
            match self.place_for(&frame, is_up, &batch) {
                Ok(incoming) => batch.push(incoming),
                Err(what) => self.device.counters.frame(what),
            }
        }
        if !batch.is_empty() {
            self.open(&mut batch);
            batch.into_iter().for_each(|incoming| self.deliver(incoming, now));
        }
        taken > 0
    }

    /// The card is being reset, or out of its slot: what arrives is lost.
    pub(in crate::drivers::nic::card) fn lose_arrivals(&mut self) -> bool {
        if !self.is_deaf() {
            return false;
        }
        let mut lost = 0;
        while self.device.wire.take().is_some() {
            lost += 1;
        }
        self.device.counters.frames(Frames::Rx, lost);
        self.device.counters.frames(Frames::RxLinkDown, lost);
        lost > 0
    }

    /// A frame in the card's memory, for a queue pair that has a buffer for it.
    fn place_for(&self, frame: &Mbuf, is_up: bool, batch: &[Incoming]) -> Result<Incoming, Frames> {
        let Some(port) = self.port.as_ref().filter(|_| is_up) else { return Err(Frames::RxLinkDown) };
        let is_rx = |number: &usize| {
            self.queues
                .get(*number)
                .is_some_and(|queue| queue.role == Role::Receive && queue.rings().is_some())
        };
        let count = (0..self.queues.len()).filter(is_rx).count();
        // One flow, one queue pair: what is at the place of the outer addresses decides.
        let hash = frame
            .data()
            .iter()
            .skip(26)
            .take(28)
            .fold(0, |hash: usize, byte| hash.wrapping_mul(31) + usize::from(*byte));
        let queue = (0..self.queues.len()).filter(is_rx).nth(hash.checked_rem(count).unwrap_or(0));
        let queue = queue.ok_or(Frames::NoRxBuffer)?;
        let reserved = batch.iter().filter(|other| other.queue == queue).count();
        if port.posted.get(queue).is_none_or(|(posted, _)| posted.len() <= reserved) {
            return Err(Frames::NoRxBuffer);
        }
        let len = frame.packet_len();
        if len > self.device.profile.max_packet {
            return Err(Frames::RxTooLong);
        }
        let mut copy = port.memory.alloc().ok_or(Frames::RxLost)?;
        let to = copy.append(len).ok_or(Frames::RxTooLong)?;
        if !frame.copy_out(0, to) {
            return Err(Frames::RxLost);
        }
        Ok(Incoming { queue, frame: Some(copy), len, esp: None })
    }

    /// Finds ESP of SAs on the card, checks, decrypts and takes apart.
    fn open(&mut self, batch: &mut [Incoming]) {
        let doubt: Vec<bool> = batch.iter().map(|_| self.dice.strikes(Fault::IcvError).is_some()).collect();
        let Self { port: Some(port), device, .. } = self else { return };
        let mut sas = device.control.sas();
        for (place, incoming) in batch.iter_mut().enumerate() {
            let Some(mut esp) = look_up(port, &mut sas, incoming) else { continue };
            if esp.outcome == RxOutcome::Ok && doubt.get(place) == Some(&true) {
                device.counters.struck(Fault::IcvError);
                esp.outcome = RxOutcome::IntegrityFailed;
            }
            if esp.outcome == RxOutcome::Ok
                && let (Some(ranges), Some(sa)) = (esp.ranges, sas.get_mut(esp.handle))
                && let Some(mut frame) = incoming.frame.take()
            {
                frame.truncate(esp.arrived.end());
                port.submit(sa, frame, Operation::Decrypt, &ranges, place);
            }
            incoming.esp = Some(esp);
        }
        port.compute(|place, frame, status| {
            let Some(incoming) = batch.get_mut(place) else { return };
            incoming.frame = Some(frame);
            if let Some(esp) = &mut incoming.esp {
                esp.outcome = match status {
                    Status::Done => RxOutcome::Ok,
                    Status::IntegrityFailed => RxOutcome::IntegrityFailed,
                    _ => RxOutcome::Malformed,
                };
            }
        });
        for incoming in batch {
            finish(&mut sas, incoming);
        }
    }

    /// Says when a frame is in its buffer.
    fn deliver(&mut self, incoming: Incoming, now: u64) {
        let Incoming { queue, frame, len, esp } = incoming;
        let through = self.through(len, now);
        let counters = &self.device.counters;
        let Some(port) = &mut self.port else { return };
        let Some(frame) = frame else { return counters.frame(Frames::RxDummies) };
        let Some((posted, _)) = port.posted.get_mut(queue) else { return counters.frame(Frames::RxLost) };
        let Some(command) = posted.pop_front() else { return counters.frame(Frames::NoRxBuffer) };
        if frame.packet_len() > command.source.len as usize {
            posted.push_front(command);
            return counters.frame(Frames::RxTooLong);
        }
        port.last_in = port.last_in.max(through);
        let at = port.last_in;
        counters.bytes.fetch_add(len as u64, std::sync::atomic::Ordering::Relaxed);
        let report = esp.map(|esp| {
            let is_ok = esp.outcome == RxOutcome::Ok;
            let is_crypto = esp.service == Service::Crypto;
            Report {
                service: esp.service,
                outcome: esp.outcome,
                handle: esp.handle,
                esn_high: if is_ok && is_crypto && esp.esn { (esp.number >> 32) as u32 } else { 0 },
                number: if is_ok && !is_crypto { esp.number } else { 0 },
            }
        });
        let receipt = Receipt { len: frame.packet_len() as u32, report };
        self.complete_at(at, (queue as u8, command), Outcome::Done, Some((frame, receipt)));
    }
}

/// The SA of a frame and the packet's number, with what can be said before the crypto.
fn look_up(port: &Port, sas: &mut SaTable, incoming: &Incoming) -> Option<Esp> {
    let frame = incoming.frame.as_ref()?.data();
    let is_ethernet = port.posted.get(incoming.queue).is_none_or(|(_, is_ethernet)| *is_ethernet);
    let arrived = esp::find(frame, esp::link_len(frame, is_ethernet)?, |port| sas.is_port(port))?;
    let handle = sas.find(&arrived)?;
    let sa = sas.get_mut(handle)?;
    let (service, esn) = (sa.service, sa.esn);
    let window = sa.window()?;
    let number =
        if esn { esp::infer(window.highest(), window.size(), arrived.low) } else { Some(arrived.low.into()) };
    let mut outcome = match number {
        None => RxOutcome::TooOld,
        Some(number) if service == Service::Protocol => window.look(number),
        Some(_) => RxOutcome::Ok,
    };
    let number = number.unwrap_or(0);
    let ranges = esp::ranges_in(sa, &arrived, esn.then_some((number >> 32) as u32));
    if ranges.is_none() && outcome == RxOutcome::Ok {
        outcome = RxOutcome::Malformed;
    }
    Some(Esp { handle, arrived, number, ranges, outcome, service, esn })
}

/// The ICV was right or not: the number is set, and ESP taken off.
fn finish(sas: &mut SaTable, incoming: &mut Incoming) {
    let Incoming { frame, esp: Some(esp), .. } = incoming else { return };
    let (Some(packet), Some(ranges), RxOutcome::Ok) = (&mut *frame, esp.ranges, esp.outcome) else { return };
    let Some(sa) = sas.get_mut(esp.handle) else { return };
    let Some(window) = sa.window() else { return };
    if esp.service == Service::Crypto {
        return window.raise(esp.number);
    }
    esp.outcome = window.check_and_set(esp.number);
    if esp.outcome != RxOutcome::Ok {
        // It was decrypted before the one that came with it was known; what it says is nobody's.
        return packet.truncate(esp.arrived.l2_len);
    }
    match esp::strip(sa, packet, &esp.arrived, &ranges) {
        Some(Stripped::Packet) => {}
        Some(Stripped::Dummy) => *frame = None,
        None => esp.outcome = RxOutcome::Malformed,
    }
}
