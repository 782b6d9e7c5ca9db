//! For those who just want bytes: one call, one job, and its result.
//!
//! A [`Simple`] has a session, a dispatcher and a few buffers. It submits one job and polls until the job is back, with a bound on the
//! turns. Nothing of a text whose tag does not match is handed out. It copies and it allocates: not for the data path.

mod error;
mod shape;

use pipeline::{Mbuf, Pool, PoolConfig};
use zeroize::Zeroize as _;

use crate::device::QueuePairConfig;
use crate::dispatcher::Dispatcher;
use crate::extension::ExtensionPool;
use crate::job::{Job, JobBurst, Operation, Status};
use crate::registry::{Placement, Registry};
use crate::session::SessionId;
use crate::transform::SessionParams;

pub use error::SimpleError;
pub use shape::{Purpose, RequestShape};

/// Buffers of a pool of its own: more than the longest packet of any driver needs.
const BUFFERS: usize = 64;
/// Turns in which a job is waited for, unless said otherwise.
const TURNS: u32 = 1 << 20;
/// Turns before the processor is offered to others in between.
const BUSY_TURNS: u32 = 64;
/// Room for the longest tag, SHA-512's.
const NO_TAG: [u8; 64] = [0; 64];

/// Bytes in, bytes out.
///
/// ```
/// use crypto_pmd::completion::{Simple, SimpleError};
/// use crypto_pmd::drivers::Software;
/// use crypto_pmd::*;
///
/// let registry = Registry::new();
/// registry.attach(Software::new())?;
/// let gcm = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[7; 16]), Key::default(), 16);
/// let mut aead = Simple::open_session(&registry, gcm, Placement::Any)?;
/// let nonce = [1; 12]; // never twice with one key
/// let mut sealed = aead.seal(&nonce, b"header", b"attack at dawn")?;
/// assert_eq!(aead.open(&nonce, b"header", &sealed)?, b"attack at dawn");
/// sealed[0] ^= 1;
/// assert!(matches!(aead.open(&nonce, b"header", &sealed), Err(SimpleError::Forged)));
///
/// let sha256 = Transform::digest(DigestAlgorithm::Sha256, 32);
/// let digest = Simple::open_session(&registry, sha256, Placement::Any)?.hash(b"abc")?;
/// assert_eq!(hex::encode(&digest[..4]), "ba7816bf"); // FIPS 180-4
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Simple {
    registry: Registry,
    dispatcher: Dispatcher,
    session: SessionId,
    shape: Option<RequestShape>,
    /// What the bundle is made of, for errors.
    bundle: String,
    pool: Pool,
    extensions: ExtensionPool,
    jobs: JobBurst,
    done: JobBurst,
    /// The cookie of the last job, which tells it from those that come too late.
    last: u64,
    turns: u32,
}

/// The parts of a request; each may be empty.
struct Parts<'a> {
    associated: &'a [u8],
    iv: &'a [u8],
    text: &'a [u8],
    tag: &'a [u8],
}

impl Simple {
    /// Opens a session for a bundle of transforms; it is closed when this is dropped.
    ///
    /// # Errors
    /// No driver takes the bundle, or there is no memory for a few buffers.
    pub fn open_session(
        registry: &Registry,
        bundle: impl Into<SessionParams>,
        placement: Placement,
    ) -> Result<Self, SimpleError> {
        let pool = Pool::new(PoolConfig { buffers: BUFFERS, ..PoolConfig::default() })?;
        Self::with_pool(registry, bundle, placement, pool)
    }

    /// As [`Simple::open_session`], with the caller's buffers.
    ///
    /// # Errors
    /// No driver takes the bundle.
    pub fn with_pool(
        registry: &Registry,
        bundle: impl Into<SessionParams>,
        placement: Placement,
        pool: Pool,
    ) -> Result<Self, SimpleError> {
        let params = bundle.into();
        let dispatcher = registry.dispatcher(&QueuePairConfig::default())?;
        let shape = RequestShape::of(&params);
        let names: Vec<_> = params.transforms.iter().map(|one| one.algorithm().name()).collect();
        Ok(Self {
            session: registry.open(params, placement)?,
            registry: registry.clone(),
            dispatcher,
            shape,
            bundle: names.join(", "),
            pool,
            extensions: ExtensionPool::new(1),
            jobs: JobBurst::new(),
            done: JobBurst::new(),
            last: 0,
            turns: TURNS,
        })
    }

    /// Waits so many turns for a job, at least one.
    #[must_use]
    pub fn with_turns(mut self, turns: u32) -> Self {
        self.turns = turns.max(1);
        self
    }

    /// Encrypts, and adds the tag, with one AEAD or a cipher and a keyed hash. The nonce is what the session's salt leaves to be said, and must
    /// never be used twice with one key. A keyed hash covers the associated data, the nonce and the ciphertext, as in ESP: there the associated
    /// data must always have one length, or what belongs to them is not certain.
    ///
    /// # Errors
    /// A bundle or length that does not fit, or a driver that failed.
    pub fn seal(&mut self, nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SimpleError> {
        let shape = self.fit("seal", Purpose::Seal)?;
        shape_fits(&shape, nonce, plaintext)?;
        let tag = room_for(&shape)?;
        let parts = Parts { associated: aad, iv: nonce, text: plaintext, tag };
        self.run(&shape, Operation::Encrypt, &parts, 0..plaintext.len() + tag.len())
    }

    /// Checks the tag behind the ciphertext, and decrypts.
    ///
    /// # Errors
    /// [`SimpleError::Forged`] when nonce, associated data and text are not what was sealed; a bundle or length that does
    /// not fit, or a driver that failed.
    pub fn open(&mut self, nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SimpleError> {
        let shape = self.fit("open", Purpose::Seal)?;
        let least = shape.tag_len();
        let short = SimpleError::TooShort { len: sealed.len(), least };
        let split = sealed.len().checked_sub(least).and_then(|at| sealed.split_at_checked(at));
        let (text, tag) = split.ok_or(short)?;
        shape_fits(&shape, nonce, text)?;
        let parts = Parts { associated: aad, iv: nonce, text, tag };
        self.run(&shape, Operation::Decrypt, &parts, 0..text.len())
    }

    /// Encrypts with a cipher alone, which does not protect against changes.
    ///
    /// # Errors
    /// A bundle or length that does not fit, or a driver that failed.
    pub fn encrypt(&mut self, iv: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SimpleError> {
        self.cipher("encrypt", Operation::Encrypt, iv, plaintext)
    }

    /// Decrypts with a cipher alone.
    ///
    /// # Errors
    /// A bundle or length that does not fit, or a driver that failed.
    pub fn decrypt(&mut self, iv: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, SimpleError> {
        self.cipher("decrypt", Operation::Decrypt, iv, ciphertext)
    }

    /// The digest of `bytes`.
    ///
    /// # Errors
    /// A bundle or length that does not fit, or a driver that failed.
    pub fn hash(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SimpleError> {
        self.tag("hash", Purpose::Digest, &[], bytes)
    }

    /// The tag of `bytes` under a keyed hash; the nonce is empty for those that take none.
    ///
    /// # Errors
    /// A bundle or length that does not fit, or a driver that failed.
    pub fn mac(&mut self, nonce: &[u8], bytes: &[u8]) -> Result<Vec<u8>, SimpleError> {
        self.tag("mac", Purpose::Mac, nonce, bytes)
    }

    /// Checks the tag of `bytes` under a keyed hash, in a time that does not depend on where it differs.
    ///
    /// # Errors
    /// [`SimpleError::Forged`] when it is another; a bundle or length that does not fit, or a driver that failed.
    pub fn check_mac(&mut self, nonce: &[u8], bytes: &[u8], tag: &[u8]) -> Result<(), SimpleError> {
        let shape = self.fit("check_mac", Purpose::Mac)?;
        shape_fits(&shape, nonce, bytes)?;
        if tag.len() != shape.tag_len() {
            return Err(SimpleError::Forged);
        }
        let parts = Parts { associated: &[], iv: nonce, text: bytes, tag };
        self.run(&shape, Operation::Decrypt, &parts, 0..0).map(drop)
    }

    fn cipher(
        &mut self,
        asked: &'static str,
        operation: Operation,
        iv: &[u8],
        text: &[u8],
    ) -> Result<Vec<u8>, SimpleError> {
        let shape = self.fit(asked, Purpose::Cipher)?;
        shape_fits(&shape, iv, text)?;
        self.run(&shape, operation, &Parts { associated: &[], iv, text, tag: &[] }, 0..text.len())
    }

    fn tag(
        &mut self,
        asked: &'static str,
        purpose: Purpose,
        nonce: &[u8],
        bytes: &[u8],
    ) -> Result<Vec<u8>, SimpleError> {
        let shape = self.fit(asked, purpose)?;
        shape_fits(&shape, nonce, bytes)?;
        let tag = room_for(&shape)?;
        let parts = Parts { associated: &[], iv: nonce, text: bytes, tag };
        self.run(&shape, Operation::Encrypt, &parts, bytes.len()..bytes.len() + tag.len())
    }

    fn fit(&self, asked: &'static str, purpose: Purpose) -> Result<RequestShape, SimpleError> {
        let unfit =
            || SimpleError::Unfit { asked, needs: error::needs(purpose), bundle: self.bundle.clone() };
        self.shape.filter(|shape| shape.purpose() == purpose).ok_or_else(unfit)
    }

    /// Does one job, and copies a part of what follows the IV out of it.
    fn run(
        &mut self,
        shape: &RequestShape,
        operation: Operation,
        parts: &Parts<'_>,
        wanted: std::ops::Range<usize>,
    ) -> Result<Vec<u8>, SimpleError> {
        let job = self.job(shape, operation, parts)?;
        let text_at = job.source().packet_len() - parts.text.len() - parts.tag.len();
        let job = self.wait_for(job);
        // Drivers keep no claim on closed sessions while nobody calls.
        self.dispatcher.offline();
        let job = job?;
        let status = job.status();
        let mut packet = job.into_packet();
        let mut bytes = vec![0; wanted.len()];
        let copied = status == Status::Done && packet.copy_out(text_at + wanted.start, &mut bytes);
        packet.segments_mut().for_each(|segment| segment.zeroize());
        if copied { Ok(bytes) } else { Err(error::of(status, parts.text.len())) }
    }

    fn job(
        &mut self,
        shape: &RequestShape,
        operation: Operation,
        parts: &Parts<'_>,
    ) -> Result<Job, SimpleError> {
        let explicit = parts.iv.len() != shape.iv_len();
        let iv = if explicit { &[][..] } else { parts.iv };
        let packet = self.packet([parts.associated, iv, parts.text, parts.tag])?;
        let too_long = SimpleError::TooLong { len: parts.associated.len() };
        let lens = (parts.associated.len(), iv.len());
        let job = shape.job(packet, self.session, operation, lens).ok_or(too_long)?;
        self.last += 1;
        let job = job.with_cookie(self.last);
        if !explicit {
            return Ok(job);
        }
        let mut extension = self.extensions.alloc().ok_or(SimpleError::NoBuffer)?;
        if extension.set_iv(parts.iv) {
            Ok(job.with_extension(extension))
        } else {
            Err(SimpleError::NoBuffer)
        }
    }

    /// A packet with the parts one behind the other, over as many segments as it needs.
    fn packet(&self, parts: [&[u8]; 4]) -> Result<Mbuf, SimpleError> {
        let mut packet = self.pool.alloc().ok_or(SimpleError::NoBuffer)?;
        for mut part in parts {
            while !part.is_empty() {
                let (front, rest) = part.split_at(part.len().min(packet.tailroom()));
                let empty = front.is_empty() || !packet.append_copy(front);
                if empty {
                    let segment = self.pool.alloc().ok_or(SimpleError::NoBuffer)?;
                    let len = parts.iter().map(|part| part.len()).sum();
                    packet.chain(segment).map_err(|_| SimpleError::TooLong { len })?;
                }
                part = if empty { part } else { rest };
            }
        }
        Ok(packet)
    }

    /// Submits a job, and polls until it is back. One that may be submitted again is.
    fn wait_for(&mut self, job: Job) -> Result<Job, SimpleError> {
        self.jobs.clear();
        drop(self.jobs.push(job));
        for turn in 0..self.turns {
            self.dispatcher.submit(&mut self.jobs);
            self.dispatcher.flush();
            self.dispatcher.poll(&mut self.done);
            // Others had been given up.
            let mine = self.done.drain().find(|job| job.cookie() == self.last);
            match mine {
                Some(mut job) if matches!(job.status(), Status::Retry | Status::Moved) => {
                    self.session = job.session();
                    job.set_status(Status::Pending);
                    drop(self.jobs.push(job));
                }
                Some(job) => return Ok(job),
                None if turn < BUSY_TURNS => std::hint::spin_loop(),
                None => std::thread::yield_now(),
            }
        }
        self.jobs.clear();
        Err(SimpleError::NotBack { turns: self.turns })
    }
}

impl Drop for Simple {
    fn drop(&mut self) {
        self.dispatcher.offline();
        self.registry.close(self.session);
    }
}

fn room_for(shape: &RequestShape) -> Result<&'static [u8], SimpleError> {
    NO_TAG.get(..shape.tag_len()).ok_or(SimpleError::TooLong { len: shape.tag_len() })
}

fn shape_fits(shape: &RequestShape, nonce: &[u8], text: &[u8]) -> Result<(), SimpleError> {
    if nonce.len() != shape.iv_len() && !shape.takes_explicit(nonce.len()) {
        return Err(SimpleError::NonceLength { len: nonce.len(), takes: shape.iv_len() });
    }
    if text.len() < shape.least_len() {
        return Err(SimpleError::TooShort { len: text.len(), least: shape.least_len() });
    }
    if !text.len().is_multiple_of(shape.block_len()) {
        return Err(SimpleError::NotWhole { len: text.len(), block: shape.block_len() });
    }
    Ok(())
}
