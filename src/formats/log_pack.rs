//! A packed log: gzip as `zcat`, `zgrep` and `zless` read it, made of members of one MiB of text each, and a
//! last, empty one that says how long they are. So any part can be read without what is before it.
//!
//! Source: RFC 1952 (2.2: several members are one text; 2.3.1.1: extra fields).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// The text of one member, in bytes.
const MEMBER: usize = 1 << 20;

/// The name of our extra field.
const NAME: [u8; 2] = *b"SW";

/// A member's header: magic, deflate, with extra fields, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];

/// Nothing, as deflate has it, its CRC and its length.
const NOTHING: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// As many as an extra field has room for: 16 GiB of text.
const MOST_MEMBERS: usize = (u16::MAX as usize - 16) / 4;

/// Packs all of `from`.
///
/// # Errors
/// It cannot be read or written, or is longer than 16 GiB.
pub fn pack(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut text = vec![0; MEMBER];
    let mut packed = Vec::new();
    let mut index = Vec::new();
    let mut total = 0_u64;
    loop {
        let length = fill(&mut from, &mut text)?;
        if length == 0 {
            break;
        }
        if index.len() == 4 * MOST_MEMBERS {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 16 GiB"));
        }
        packed.clear();
        let mut encoder = GzEncoder::new(&mut packed, Compression::default());
        encoder.write_all(&text[..length])?;
        encoder.finish()?;
        to.write_all(&packed)?;
        let size = u32::try_from(packed.len()).map_err(io::Error::other)?;
        index.extend_from_slice(&size.to_le_bytes());
        total += length as u64;
    }
    to.write_all(&trailer(&index, total))
}

/// The last member.
fn trailer(index: &[u8], total: u64) -> Vec<u8> {
    // The extra field ends with its own length, so that it can be found from the end of the file.
    let payload = index.len() + 8 + 2;
    let extra = 4 + payload;
    let word = |number: usize| (number as u16).to_le_bytes();
    [
        &HEADER[..],
        &word(extra),
        &NAME,
        &word(payload),
        index,
        &total.to_le_bytes(),
        &word(extra),
        &NOTHING,
    ]
    .concat()
}

/// Reads until `buffer` is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A packed log that is read.
#[derive(Debug)]
pub struct Packed {
    file: File,
    /// Where each member begins, and where the last one ends.
    places: Vec<u64>,
    length: u64,
    /// The member read last: most reading goes on where it was.
    held: RefCell<Option<(usize, Vec<u8>)>>,
}

impl Packed {
    /// # Errors
    /// It cannot be read, or was not packed by [`pack`].
    pub fn open(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let (index, length) = read_trailer(&file, size)
            .ok_or_else(|| damaged("it was packed by another program than swrun"))?;
        let mut places = vec![0];
        for word in index.chunks_exact(4) {
            let last = places.last().copied().unwrap_or_default();
            places.push(last + u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
        }
        let is_whole = (length.div_ceil(MEMBER as u64)) as usize == places.len() - 1;
        if !is_whole || places.last().is_some_and(|last| *last > size) {
            return Err(damaged("its index does not fit"));
        }
        Ok(Self { file, places, length, held: RefCell::new(None) })
    }

    /// The length of its text, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads text from `offset` on; 0 at the end, and perhaps less than there is room for.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.length {
            return Ok(0);
        }
        let number = (offset / MEMBER as u64) as usize;
        let within = (offset % MEMBER as u64) as usize;
        let mut held = self.held.borrow_mut();
        let text = match &mut *held {
            Some((known, text)) if *known == number => text,
            other => &mut other.insert((number, self.member(number)?)).1,
        };
        let rest = &text[within.min(text.len())..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn member(&self, number: usize) -> io::Result<Vec<u8>> {
        let (start, end) = (self.places[number], self.places[number + 1]);
        let mut packed = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut packed, start)?;
        let wanted = (self.length - (number * MEMBER) as u64).min(MEMBER as u64);
        let mut text = Vec::with_capacity(MEMBER);
        GzDecoder::new(&packed[..]).take(MEMBER as u64 + 1).read_to_end(&mut text)?;
        if text.len() as u64 != wanted {
            return Err(damaged("a part of it has another length than its index says"));
        }
        Ok(text)
    }
}

/// The lengths of the members and that of the text.
fn read_trailer(file: &File, size: u64) -> Option<(Vec<u8>, u64)> {
    let read = |length: usize, from_end: u64| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, size.checked_sub(from_end)?).ok()?;
        Some(bytes)
    };
    let end = read(2 + NOTHING.len(), 2 + NOTHING.len() as u64)?;
    let extra = usize::from(u16::from_le_bytes([end[0], end[1]]));
    let whole = HEADER.len() + 2 + extra + NOTHING.len();
    let trailer = read(whole, whole as u64)?;
    let index = trailer.get(HEADER.len() + 2 + 4..whole.checked_sub(NOTHING.len() + 2 + 8)?)?;
    let total = trailer.get(whole - NOTHING.len() - 2 - 8..whole - NOTHING.len() - 2)?;
    let total = u64::from_le_bytes(total.try_into().ok()?);
    (trailer == self::trailer(index, total)).then(|| (index.to_vec(), total))
}

fn damaged(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(text: &[u8]) -> (File, Vec<u8>) {
        let mut bytes = Vec::new();
        pack(text, &mut bytes).expect("in memory");
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&bytes, 0).expect("written");
        (file, bytes)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * at / 7 % 251) as u8).collect()
    }

    #[test]
    fn it_is_gzip_to_others_and_read_from_anywhere_by_us() {
        for length in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 3 * MEMBER + 77] {
            let text = text(length);
            let (file, bytes) = packed(&text);
            let mut by_others = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut by_others)
                .expect("gzip");
            assert!(by_others == text, "{length}");
            let log = Packed::open(file).expect("ours");
            assert_eq!(log.length(), length as u64);
            for offset in [0, 1, length / 2, MEMBER - 3, length.saturating_sub(5), length] {
                let mut buffer = [0; 9];
                let read = log.read_at(&mut buffer, offset as u64).expect("whole");
                let rest = text.get(offset..).unwrap_or_default();
                assert!(read > 0 || rest.is_empty(), "{length} {offset}");
                assert_eq!(buffer[..read], rest[..read], "{length} {offset}");
            }
        }
    }

    #[test]
    fn what_others_packed_is_told() {
        let mut bytes = Vec::new();
        let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
        encoder.write_all(b"hello").expect("in memory");
        encoder.finish().expect("in memory");
        for bytes in [bytes, Vec::new(), b"plain text of some length, and no gzip".to_vec()] {
            let file = tempfile::tempfile().expect("a file");
            file.write_all_at(&bytes, 0).expect("written");
            let error = Packed::open(file).expect_err("not ours");
            assert!(error.to_string().contains("another program"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_one_is_an_error_and_no_panic(place in 0_usize..3000, byte: u8, offset in 0_u64..5000) {
            let text = text(4000);
            let (file, bytes) = packed(&text);
            let place = place % bytes.len();
            file.write_all_at(&[byte], place as u64).expect("written");
            if let Ok(log) = Packed::open(file) {
                let mut buffer = [0; 64];
                if let Ok(read) = log.read_at(&mut buffer, offset) {
                    let rest = text.get(offset as usize..).unwrap_or_default();
                    prop_assert_eq!(&buffer[..read], &rest[..read]);
                }
            }
        }
    }
}
