//! The reader of a BPF ring buffer: records that a program in the kernel leaves for this process.
//!
//! Source: Linux, Documentation/bpf/ringbuf.rst. Page 0 is the reader's position, page 1 the writer's, then
//! the data, mapped twice in a row so that no record is ever in two pieces.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::bpf::{Map, MapKind};

/// Bytes of data: a page, the smallest there is.
const BYTES: usize = 4096;
const PAGE: usize = 4096;
/// `BPF_RINGBUF_BUSY_BIT`, `BPF_RINGBUF_DISCARD_BIT`, `BPF_RINGBUF_HDR_SZ`.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: usize = 8;

/// A ring buffer and its mapped pages; readable (poll(2)) when records wait.
#[derive(Debug)]
pub struct Ring {
    map: OwnedFd,
    position: NonNull<AtomicU64>,
    data: NonNull<u8>,
}

impl Ring {
    /// A new one.
    ///
    /// # Errors
    /// bpf(2) or mmap(2).
    pub fn create(name: &str) -> io::Result<Self> {
        let map: Map<0, 0> = Map::create(MapKind::Ring, BYTES as u32, name)?;
        let descriptor = map.descriptor().try_clone()?;
        let position = share(&descriptor, 0, PAGE, libc::PROT_READ | libc::PROT_WRITE)?;
        let data = match share(&descriptor, PAGE, PAGE + 2 * BYTES, libc::PROT_READ) {
            Ok(data) => data,
            Err(error) => {
                // SAFETY: mapped above with this size, and nobody else has it yet.
                unsafe { libc::munmap(position.as_ptr().cast(), PAGE) };
                return Err(error);
            }
        };
        Ok(Self { map: descriptor, position: position.cast(), data })
    }

    /// Takes every record that waits; each is told to `take`, whatever its length.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        // SAFETY: both pages are mapped as long as `self` lives, aligned by the page, and shared with the
        // kernel, which accesses them atomically too.
        let (reader, writer) =
            unsafe { (self.position.as_ref(), self.data.cast::<AtomicU64>().as_ref()) };
        let mut at = reader.load(Ordering::Acquire);
        // Looked at once: whoever fills it without pause must not hold us here.
        let end = writer.load(Ordering::Acquire);
        while at < end {
            let offset = (at as usize) & (BYTES - 1);
            // SAFETY: the data begins one page on and is mapped twice, so a header at any offset below
            // BYTES lies within; records are aligned by 8.
            let header = unsafe { self.data.as_ptr().add(PAGE + offset) };
            // SAFETY: as above; the kernel writes this word atomically.
            let word = unsafe { &*header.cast::<AtomicU32>() }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                break;
            }
            let length = (word & !(BUSY | DISCARDED)) as usize;
            if word & DISCARDED == 0 && length <= BYTES {
                // SAFETY: a record is at most BYTES long and begins below BYTES, so it lies within the
                // two copies; the kernel does not write it again before the position below has moved.
                take(unsafe { std::slice::from_raw_parts(header.add(HEADER), length) });
            }
            at += (length + HEADER).next_multiple_of(8) as u64;
            reader.store(at, Ordering::Release);
        }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped in `create` with these sizes, and no reference to them outlives `self`.
        unsafe {
            libc::munmap(self.position.as_ptr().cast(), PAGE);
            libc::munmap(self.data.as_ptr().cast(), PAGE + 2 * BYTES);
        }
    }
}

fn share(map: &OwnedFd, offset: usize, length: usize, protection: i32) -> io::Result<NonNull<u8>> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    // JUSTIFICATION: the records are only there to be mapped.
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
    let address = unsafe {
        let flags = libc::MAP_SHARED;
        libc::mmap(std::ptr::null_mut(), length, protection, flags, map.as_raw_fd(), offset)
    };
    match NonNull::new(address.cast::<u8>()) {
        Some(found) if address != libc::MAP_FAILED => Ok(found),
        _ => Err(io::Error::last_os_error()),
    }
}
