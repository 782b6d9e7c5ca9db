//! Frames that leave: read from the host, treated as they ask for, and sent in their order.

use pipeline::Mbuf;

use crate::drivers::nic::bus::association::service_of;
use crate::drivers::nic::bus::command::{Command, Kind, Outcome};
use crate::drivers::nic::bus::registers;
use crate::inline::Service;
use crate::job::{Operation, Status};

use super::{BATCH, Engine, Frames, Leaving, Ranges};
use crate::drivers::nic::card::esp;

/// A frame in work.
struct Outgoing {
    command: Command,
    outcome: Outcome,
    frame: Option<Mbuf>,
    /// Of a frame with a request.
    ranges: Option<Ranges>,
}

impl Engine {
    pub(super) fn serve_tx(&mut self, number: usize, now: u64) -> bool {
        let Some(port) = &self.port else { return false };
        let inside = port.leaving.len().max(port.due.len() - port.arrived());
        let ready = self.queues.get(number).map_or(0, |queue| queue.ready());
        let count = ready.min(port.room.saturating_sub(inside)).min(BATCH);
        if count == 0 {
            return false;
        }
        let mut batch = Vec::with_capacity(count);
        self.read_frames(number, count, now, |command, outcome| {
            if command.kind != Kind::Nothing {
                batch.push(Outgoing { command, outcome, frame: None, ranges: None });
            }
        });
        if self.is_deaf() {
            // A reset that came with one of the commands: they were begun, and are gone.
            self.device.counters.frames(Frames::Tx, batch.len());
            self.device.counters.frames(Frames::TxLost, batch.len());
            return true;
        }
        self.treat(number, &mut batch);
        batch.into_iter().for_each(|outgoing| self.send_out(number, outgoing, now));
        true
    }

    /// Reads frames in and does what they ask for.
    fn treat(&mut self, number: usize, batch: &mut [Outgoing]) {
        let Self { port: Some(port), queues, device, .. } = self else { return };
        let Some(queue) = queues.get(number) else { return };
        let control = &device.control;
        let mut sas = control.sas();
        for (place, outgoing) in batch.iter_mut().enumerate().filter(|(_, one)| one.outcome == Outcome::Done)
        {
            let command = outgoing.command;
            let len = command.source.len as usize;
            let l2_len = usize::from(command.link_len);
            let mut treat = || -> Result<(), Outcome> {
                if command.kind != Kind::Transmit || len > device.profile.max_packet {
                    return Err(Outcome::BadCommand);
                }
                let mut frame = port.memory.alloc().ok_or(Outcome::BadCommand)?;
                let to = frame.append(len).ok_or(Outcome::BadCommand)?;
                queue.read(&device.iommu, &command, to).map_err(|_| Outcome::MemoryFault)?;
                if command.service == 0 {
                    outgoing.frame = Some(frame);
                    return Ok(());
                }
                let sa = sas.get_mut(command.session).ok_or(Outcome::NoSession)?;
                let service = service_of(command.service).filter(|service| *service == sa.service);
                // A link header in which the version of IP is not in the last two bytes is none that the card knows.
                if l2_len != 0 && l2_len < 14 {
                    return Err(Outcome::BadRange);
                }
                let ranges = match service.ok_or(Outcome::NoSession)? {
                    Service::Crypto => esp::ranges_out(sa, &mut frame, l2_len, command.esn_high),
                    Service::Protocol => esp::build(sa, &mut frame, l2_len, port.ivs.take()),
                };
                let ranges = ranges.map_err(|_| Outcome::BadRange)?;
                outgoing.ranges = Some(ranges);
                port.submit(sa, frame, Operation::Encrypt, &ranges, place);
                Ok(())
            };
            if let Err(outcome) = treat() {
                outgoing.outcome = outcome;
            }
        }
        port.compute(|place, mut frame, status| {
            let Some(outgoing) = batch.get_mut(place) else { return };
            match (status, sas.get_mut(outgoing.command.session), outgoing.ranges) {
                (Status::Done, Some(sa), Some(ranges)) => {
                    if sa.service == Service::Protocol {
                        esp::finish_checksum(sa, &mut frame, usize::from(outgoing.command.link_len), &ranges);
                    }
                    outgoing.frame = Some(frame);
                }
                _ => outgoing.outcome = Outcome::BadRange,
            }
        });
    }

    /// Says when a frame leaves, or at once that it does not.
    fn send_out(&mut self, number: usize, outgoing: Outgoing, now: u64) {
        let Outgoing { command, outcome, frame, .. } = outgoing;
        let queue = number as u8;
        let len = command.source.len as usize;
        self.device.counters.frame(Frames::Tx);
        let through = self.through(len, now);
        match (frame, &mut self.port) {
            (Some(frame), Some(port)) => {
                port.last_out = port.last_out.max(through);
                port.leaving.push_back(Leaving { at: port.last_out, queue, command, frame });
                self.device.counters.bytes.fetch_add(len as u64, std::sync::atomic::Ordering::Relaxed);
            }
            _ => {
                self.device.counters.frame(Frames::TxRefused);
                self.complete_at(through, (queue, command), outcome, None);
            }
        }
    }

    /// Frames whose time has come leave by the wire; false when the wire is full.
    pub(super) fn let_leave(&mut self, now: u64) -> bool {
        loop {
            let Some(port) = &mut self.port else { return true };
            let Some(leaving) = port.leaving.pop_front() else { return true };
            if leaving.at > now {
                port.leaving.push_front(leaving);
                return true;
            }
            let is_up = self.device.registers.peek(registers::LINK) == 1;
            if is_up && !self.device.wire.send(leaving.frame.data()) {
                port.leaving.push_front(leaving);
                return false;
            }
            let (what, outcome) =
                if is_up { (Frames::Sent, Outcome::Done) } else { (Frames::TxLinkDown, Outcome::LinkDown) };
            self.device.counters.frame(what);
            let at = leaving.at;
            self.complete_at(at, (leaving.queue, leaving.command), outcome, None);
        }
    }
}
