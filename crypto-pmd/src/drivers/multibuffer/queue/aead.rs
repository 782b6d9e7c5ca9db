//! Packets under AES-GCM, one by one.

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::gcm;
use crate::drivers::multibuffer::session::Gcm;
use crate::job::{Job, Operation, Shape, Status};

use super::desk;

/// Does a job; `None` for one that is out of the ordinary.
#[inline]
pub(super) fn run(level: Level, gcm: &Gcm, job: &mut Job, sheet: &mut [u8]) -> Option<Status> {
    if desk::is_in_place(job)? {
        let (text, shape) = desk::text(true, job, sheet);
        return run_over(level, gcm, text, &shape);
    }
    run_on_sheet(level, gcm, job, sheet)
}

#[cold]
fn run_on_sheet(level: Level, gcm: &Gcm, job: &mut Job, sheet: &mut [u8]) -> Option<Status> {
    if !desk::lay_out(job, sheet) {
        return None;
    }
    let (text, shape) = desk::text(false, job, sheet);
    let status = run_over(level, gcm, text, &shape)?;
    Some(if status == Status::Done { desk::hand_over(job, sheet) } else { status })
}

#[inline(always)]
fn run_over(level: Level, gcm: &Gcm, data: &mut [u8], shape: &Shape<'_>) -> Option<Status> {
    let Gcm { key, salt, tag_len } = gcm;
    let (aad_offset, aad_len) = shape.integrity;
    let (cipher_offset, cipher_len) = shape.cipher;
    let (aad_end, cipher_end) = (aad_offset.checked_add(aad_len)?, cipher_offset.checked_add(cipher_len)?);
    // As ESP has it: associated data, then the cipher range, then the tag.
    if aad_end > cipher_offset || cipher_end > shape.tag_offset {
        return None;
    }
    let mut nonce = [0; 12];
    let (salt_part, iv_part) = nonce.split_at_mut(salt.len());
    salt_part.copy_from_slice(salt);
    iv_part.copy_from_slice(data.get(shape.iv_offset..)?.first_chunk::<8>()?);
    let (front, rest) = data.split_at_mut_checked(cipher_offset)?;
    let (text, behind) = rest.split_at_mut_checked(cipher_len)?;
    let tag = behind.get_mut(shape.tag_offset - cipher_end..)?.get_mut(..*tag_len)?;
    let aad = front.get(aad_offset..aad_end)?;
    let extended: [u8; 12];
    let aad = match (shape.esn_high, aad) {
        (None, aad) => aad,
        // RFC 4106 section 5: the high half stands between the others.
        (Some(high), &[a, b, c, d, e, f, g, h]) => {
            let [i, j, k, l] = high.to_be_bytes();
            extended = [a, b, c, d, i, j, k, l, e, f, g, h];
            &extended
        }
        _ => return None,
    };
    if shape.operation == Operation::Encrypt {
        let whole = gcm::seal(level, key, &nonce, aad, text);
        tag.copy_from_slice(whole.get(..*tag_len)?);
        return Some(Status::Done);
    }
    let genuine = gcm::open(level, key, &nonce, aad, text, tag);
    Some(if genuine { Status::Done } else { Status::IntegrityFailed })
}
