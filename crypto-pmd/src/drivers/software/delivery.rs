//! Where the result of a job goes that was not worked on in place.

use pipeline::{Mbuf, Pool};

use crate::job::{Job, Status};

/// Puts a result that is as long as the input where the job wants it: back where it came from, or into the destination.
pub(in crate::drivers) fn deliver(job: &mut Job, result: &[u8]) -> Status {
    if !job.is_in_place() {
        let (_, destination, _) = job.parts_mut();
        let filled = destination.is_some_and(|destination| fill(destination, result));
        return if filled { Status::Done } else { Status::BadRange };
    }
    if let Some(extension) = job.extension_mut().filter(|extension| !extension.pieces().is_empty()) {
        extension.scatter(result);
        return Status::Done;
    }
    if job.parts_mut().0.copy_in(0, result) { Status::Done } else { Status::BadRange }
}

/// Makes a destination as long as the result, which it then holds; false (and no change) when it is too short.
fn fill(destination: &mut Mbuf, result: &[u8]) -> bool {
    let missing = result.len().saturating_sub(destination.packet_len());
    if destination.append(missing).is_none() {
        return false;
    }
    destination.truncate(result.len());
    destination.copy_in(0, result)
}

/// Puts a result of any length into the source, if its buffer is long enough, else into a new packet of the source's pool,
/// which becomes the destination. A destination that the caller gave grows by buffers of its pool.
pub(super) fn deliver_any(job: &mut Job, result: &[u8]) -> Status {
    let has_pieces = job.extension().is_some_and(|extension| !extension.pieces().is_empty());
    let (source, destination, _) = job.parts_mut();
    if let Some(destination) = destination {
        return status(fill_any(destination, result));
    }
    if !has_pieces && result.len() <= source.packet_len() + source.tailroom() {
        return status(fill(source, result));
    }
    let Some(mut fresh) = Pool::alloc_like(source) else { return Status::NoBuffer };
    let filled = fill_any(&mut fresh, result);
    if filled {
        job.set_destination(fresh);
    }
    status(filled)
}

fn status(filled: bool) -> Status {
    if filled { Status::Done } else { Status::NoBuffer }
}

/// As [`fill`], with as many buffers more as it takes.
fn fill_any(packet: &mut Mbuf, result: &[u8]) -> bool {
    let missing = result.len().saturating_sub(packet.packet_len());
    let beyond = missing.saturating_sub(packet.tailroom());
    if beyond == 0 {
        return fill(packet, result);
    }
    let Some(more) = buffers_like(packet, beyond) else { return false };
    let room = packet.tailroom();
    packet.append(room).is_some() && packet.chain(more).is_ok() && packet.copy_in(0, result)
}

/// A packet of `len` bytes from the same pool, with unspecified content; `None` when there are not enough buffers, or the chain
/// would be too long.
fn buffers_like(packet: &Mbuf, len: usize) -> Option<Mbuf> {
    let mut chain = buffer_like(packet, len)?;
    while chain.packet_len() < len {
        let next = buffer_like(packet, len - chain.packet_len())?;
        chain.chain(next).ok()?;
    }
    let segments = packet.segment_count() + chain.segment_count();
    (segments <= pipeline::mbuf::MAX_SEGMENTS.into()).then_some(chain)
}

fn buffer_like(packet: &Mbuf, len: usize) -> Option<Mbuf> {
    let mut buffer = Pool::alloc_like(packet)?;
    let count = len.min(buffer.tailroom());
    buffer.append(count)?;
    Some(buffer)
}
