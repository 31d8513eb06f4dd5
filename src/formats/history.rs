//! The history of an environment: what it used, in four rings of coarser and coarser steps, in one file of a fixed
//! size. One process writes; any may read meanwhile, the runner does.
//!
//! A span lies where its time says (time / step, modulo the length of the ring), so there is no pointer that could be
//! wrong after a power cut; each has its own checksum, so one that was torn is none. Those of an earlier lap are
//! known by their time. Described in swrun-history(5).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::model::{Usage, UsageSpan};
use crate::sys::files;

/// A ring: seconds of a span, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// Seconds of a span.
    pub step_s: u32,
    /// How many.
    pub count: u32,
}

/// Ten minutes by the second (only while memory is close to a ceiling, or somebody watches), six hours by ten
/// seconds, a week by the minute, a year by the hour.
pub const RINGS: [Ring; 4] = [
    Ring { step_s: 1, count: 600 },
    Ring { step_s: 10, count: 2_160 },
    Ring { step_s: 60, count: 10_080 },
    Ring { step_s: 3_600, count: 8_760 },
];

const MAGIC: &[u8; 8] = b"swrunhis";
const VERSION: u32 = 1;
const HEADER: u64 = 4096;
const SPAN: usize = 80;

/// How many bytes are read at once.
const BLOCK: usize = 256 * SPAN;

impl Ring {
    fn index(self) -> usize {
        RINGS.iter().position(|ring| *ring == self).unwrap_or(0)
    }

    fn begins(self) -> u64 {
        let before: u64 = RINGS[..self.index()].iter().map(|ring| u64::from(ring.count)).sum();
        HEADER + before * SPAN as u64
    }

    /// Where the span of time `at` lies.
    fn offset(self, at: u64) -> u64 {
        let slot = at / u64::from(self.step_s) % u64::from(self.count);
        self.begins() + slot * SPAN as u64
    }

    /// How far it goes back, in seconds.
    #[must_use]
    pub fn reach_s(self) -> u64 {
        u64::from(self.step_s) * u64::from(self.count)
    }
}

/// The history, as the one who writes it has it. The file is open only meanwhile: a file system can be remounted
/// read-only, and no descriptor is kept.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    /// The spans that go on, one of each ring.
    open: [Option<UsageSpan>; RINGS.len()],
}

impl History {
    /// Begins one where there is none. The second is what an operator should know: a file that could not be understood
    /// was set aside.
    ///
    /// # Errors
    /// It could not be opened or begun; one of a newer version is left as it is.
    pub fn open(path: &Path) -> io::Result<(Self, Option<String>)> {
        let mut said = None;
        let file = open_or_begin(path)?;
        if let Err(error) = check(&file) {
            if error.kind() == io::ErrorKind::Unsupported {
                return Err(error);
            }
            let aside = files::set_aside(path)?;
            said = Some(format!(
                "the history \"{}\" could not be understood ({error}): it is kept as \"{}\", and a new one is begun",
                path.display(),
                aside.display()
            ));
            open_or_begin(path)?;
        }
        Ok((Self { path: path.to_owned(), open: [None; RINGS.len()] }, said))
    }

    /// Adds a sample: to the seconds only if `is_close`, for which they are.
    ///
    /// # Errors
    /// The file could not be written; the next sample tries anew.
    pub fn add(&mut self, usage: &Usage, is_close: bool) -> io::Result<()> {
        let file = open_or_begin(&self.path)?;
        for (ring, open) in RINGS.into_iter().zip(&mut self.open) {
            if ring.step_s == 1 && !is_close {
                continue;
            }
            let new = UsageSpan::of(usage, ring.step_s);
            let offset = ring.offset(usage.at);
            // After a start the span may be one that an earlier process began.
            let before = open.take().or_else(|| read_one(&file, ring, offset));
            let span = match before.filter(|span| span.at == new.at) {
                Some(mut span) => {
                    span.add(&new);
                    span
                }
                None => new,
            };
            file.write_all_at(&encode(&span), offset)?;
            *open = Some(span);
        }
        Ok(())
    }
}

/// Shows `sees` the spans of `ring` between two times, oldest first.
///
/// # Errors
/// As [`read`].
pub fn look(
    path: &Path,
    ring: Ring,
    from: u64,
    to: u64,
    sees: impl FnMut(UsageSpan),
) -> io::Result<()> {
    let file = open(path, false)?;
    check(&file)?;
    each(&file, ring, from, to, sees)
}

/// The spans of `ring` in the file at `path` between two times (seconds since the epoch, both included), oldest
/// first.
///
/// # Errors
/// There is no history, it is of another version (`Unsupported`) or not understood (`InvalidData`).
pub fn read(path: &Path, ring: Ring, from: u64, to: u64) -> io::Result<Vec<UsageSpan>> {
    let mut spans = Vec::new();
    look(path, ring, from, to, |span| spans.push(span))?;
    Ok(spans)
}

/// The finest ring that goes back from `now` to `since`; else the coarsest.
#[must_use]
pub fn ring_for(since: u64, now: u64) -> Ring {
    let reaches = |ring: &&Ring| ring.step_s > 1 && ring.reach_s() >= now.saturating_sub(since);
    *RINGS.iter().find(reaches).unwrap_or(&RINGS[RINGS.len() - 1])
}

fn open_or_begin(path: &Path) -> io::Result<File> {
    let file = open(path, true)?;
    if file.metadata()?.len() == 0 {
        begin(&file)?;
    }
    Ok(file)
}

fn open(path: &Path, writes: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(writes)
        .create(writes)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// How long the file is, in bytes.
fn length() -> u64 {
    let spans: u64 = RINGS.iter().map(|ring| u64::from(ring.count)).sum();
    HEADER + spans * SPAN as u64
}

/// A new file: what was never written is a hole, and takes no room.
fn begin(file: &File) -> io::Result<()> {
    file.set_len(length())?;
    file.write_all_at(&header(), 0)
}

fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for Ring { step_s, count } in RINGS {
        bytes.extend_from_slice(&step_s.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn check(file: &File) -> io::Result<()> {
    let wanted = header();
    let mut found = vec![0; wanted.len()];
    let bad = |kind, text: String| Err(io::Error::new(kind, text));
    file.read_exact_at(&mut found, 0)?;
    let version = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
    if found[..8] == *MAGIC && version > VERSION {
        let text = format!("it is of version {version}, this program knows version {VERSION}");
        return bad(io::ErrorKind::Unsupported, text);
    }
    match found == wanted && file.metadata()?.len() == length() {
        true => Ok(()),
        false => bad(io::ErrorKind::InvalidData, "it is damaged".to_owned()),
    }
}

fn read_one(file: &File, ring: Ring, offset: u64) -> Option<UsageSpan> {
    let mut bytes = [0; SPAN];
    file.read_exact_at(&mut bytes, offset).ok()?;
    decode(&bytes, ring.step_s)
}

fn each(
    file: &File,
    ring: Ring,
    from: u64,
    to: u64,
    mut sees: impl FnMut(UsageSpan),
) -> io::Result<()> {
    // The slot of an earlier span is that of a later one.
    let step = u64::from(ring.step_s);
    let from = from.max((to / step).saturating_add(1).saturating_sub(u64::from(ring.count)) * step);
    // From the slot of the oldest to the end of the ring, then from its beginning on.
    let oldest = ring.offset(from);
    let end = ring.begins() + u64::from(ring.count) * SPAN as u64;
    let mut block = vec![0; BLOCK];
    for (mut offset, end) in [(oldest, end), (ring.begins(), oldest)] {
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(BLOCK).min(BLOCK);
            file.read_exact_at(&mut block[..wanted], offset)?;
            for bytes in block[..wanted].as_chunks::<SPAN>().0 {
                if let Some(span) = decode(bytes, ring.step_s)
                    && (from..=to).contains(&span.at)
                {
                    sees(span);
                }
            }
            offset += wanted as u64;
        }
    }
    Ok(())
}

/// What a field says of a value that is unknown.
const UNKNOWN: u32 = u32::MAX;
const UNKNOWN_SHORT: u16 = u16::MAX;

fn encode(span: &UsageSpan) -> [u8; SPAN] {
    let number = |value: Option<u64>| match value {
        Some(value) => u32::try_from(value).unwrap_or(UNKNOWN - 1).min(UNKNOWN - 1),
        None => UNKNOWN,
    };
    let kib = |bytes: Option<u64>| number(bytes.map(|bytes| bytes.div_ceil(1024)));
    let scaled =
        |value: Option<f64>, by: f64| number(value.map(|value| (value * by).round() as u64));
    let short = |value: u32| match value {
        UNKNOWN => UNKNOWN_SHORT,
        value => u16::try_from(value).unwrap_or(UNKNOWN_SHORT - 1).min(UNKNOWN_SHORT - 1),
    };
    let mut bytes = Vec::with_capacity(SPAN);
    bytes.extend_from_slice(&span.at.to_le_bytes());
    for value in [span.samples, span.life] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    for value in [span.instances, span.restarts] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    for value in [
        kib(span.anon_min),
        kib(span.anon),
        kib(span.anon_max),
        kib(span.file),
        kib(span.shmem),
        kib(span.kernel),
        kib(span.current_max),
        scaled(span.cpu_percent, 1000.0),
        number(span.throttled_ms),
        number(span.pids_max),
        kib(span.read),
        kib(span.written),
    ] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    for value in [
        short(scaled(span.memory_pressure, 100.0)),
        short(scaled(span.cpu_pressure, 100.0)),
        short(scaled(span.io_pressure, 100.0)),
        short(number(span.queue_max)),
    ] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let mut whole = [0; SPAN];
    whole.copy_from_slice(&bytes);
    whole
}

/// `None` where nothing was ever written, or what was is torn.
fn decode(bytes: &[u8; SPAN], step_s: u32) -> Option<UsageSpan> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(content) {
        return None;
    }
    let (at, rest) = content.split_first_chunk::<8>()?;
    let mut rest = rest;
    let mut next = || -> Option<u32> {
        let (value, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(u32::from_le_bytes(*value))
    };
    let (samples, life, counts) = (next()?, next()?, next()?);
    let mut number = || -> Option<Option<u64>> {
        next().map(|value| (value != UNKNOWN).then_some(u64::from(value)))
    };
    let mut fields = [None; 12];
    for field in &mut fields {
        *field = number()?;
    }
    let mut shorts = [None; 4];
    for (short, value) in shorts.iter_mut().zip(rest.as_chunks::<2>().0) {
        let value = u16::from_le_bytes(*value);
        *short = (value != UNKNOWN_SHORT).then_some(u64::from(value));
    }
    let kib = |value: Option<u64>| value.map(|kib| kib << 10);
    let scaled = |value: Option<u64>, by: f64| value.map(|value| value as f64 / by);
    let [
        anon_min,
        anon,
        anon_max,
        file,
        shmem,
        kernel,
        current,
        cpu,
        throttled,
        pids,
        read,
        written,
    ] = fields;
    Some(UsageSpan {
        at: u64::from_le_bytes(*at),
        step_s,
        samples,
        life,
        instances: (counts & 0xffff) as u16,
        restarts: (counts >> 16) as u16,
        anon_min: kib(anon_min),
        anon: kib(anon),
        anon_max: kib(anon_max),
        file: kib(file),
        shmem: kib(shmem),
        kernel: kib(kernel),
        current_max: kib(current),
        cpu_percent: scaled(cpu, 1000.0),
        throttled_ms: throttled,
        pids_max: pids,
        memory_pressure: scaled(shorts[0], 100.0),
        cpu_pressure: scaled(shorts[1], 100.0),
        io_pressure: scaled(shorts[2], 100.0),
        read: kib(read),
        written: kib(written),
        queue_max: shorts[3],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const BEGIN: u64 = 1_790_000_000 - 1_790_000_000 % DAY;

    fn usage(at: u64) -> Usage {
        Usage { at, life: 1, instances: 1, anon: Some((at - BEGIN) << 10), ..Usage::default() }
    }

    fn history() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("shop.history");
        (folder, path)
    }

    #[test]
    fn a_span_is_the_same_after_it_was_written() {
        let span = UsageSpan {
            at: BEGIN,
            step_s: 60,
            samples: 6,
            life: 77,
            instances: 3,
            restarts: 2,
            anon_min: Some(1 << 20),
            anon: Some(2 << 20),
            anon_max: Some(3 << 30),
            file: Some(0),
            shmem: None,
            kernel: Some(5 << 10),
            current_max: Some(1 << 41),
            cpu_percent: Some(123.456),
            throttled_ms: Some(9),
            pids_max: Some(11),
            memory_pressure: Some(0.25),
            cpu_pressure: None,
            io_pressure: Some(99.99),
            read: Some(1 << 20),
            written: None,
            queue_max: Some(3),
        };
        assert_eq!(decode(&encode(&span), 60), Some(span));
        let mut torn = encode(&span);
        for byte in 0..SPAN {
            torn[byte] ^= 0x40;
            assert_eq!(decode(&torn, 60), None, "{byte}");
            torn[byte] ^= 0x40;
        }
        assert_eq!(decode(&[0; SPAN], 60), None, "never written");
    }

    #[test]
    fn older_samples_are_in_coarser_spans() {
        let (_folder, path) = history();
        let (mut history, said) = History::open(&path).expect("begun");
        assert_eq!(said, None);
        // Half a day, and a new process in the middle of it.
        for at in (BEGIN..BEGIN + DAY / 2).step_by(10) {
            if at == BEGIN + 3600 + 30 {
                history = History::open(&path).expect("opened").0;
            }
            history.add(&usage(at), false).expect("written");
        }
        let now = BEGIN + DAY / 2 - 10;
        let [seconds, tens, minutes, hours] =
            RINGS.map(|ring| read(&path, ring, 0, now).expect("read"));
        assert!(seconds.is_empty(), "nobody watched");
        assert_eq!(tens.len(), 2160, "six hours");
        assert_eq!(tens.first().map(|span| span.at), Some(now - 6 * 3600 + 10));
        assert_eq!(minutes.len(), 12 * 60);
        assert_eq!(hours.len(), 12);
        let second = hours[1];
        assert_eq!((second.at, second.samples), (BEGIN + 3600, 360), "the restart lost nothing");
        assert_eq!(second.anon_min, Some(3600 << 10));
        assert_eq!(second.anon_max, Some(7190 << 10));
        assert_eq!(second.anon, Some(5395 << 10));
        let between = read(&path, RINGS[2], BEGIN + 600, BEGIN + 660).expect("read");
        assert_eq!(
            between.iter().map(|span| span.at).collect::<Vec<_>>(),
            [BEGIN + 600, BEGIN + 660]
        );
        let size = std::fs::metadata(&path).expect("there").len();
        assert!(size < 2 << 20, "{size}");
    }

    #[test]
    fn the_finest_ring_that_goes_back_is_read() {
        let hour = 3600;
        for (back, step) in
            [(1, 10), (6, 10), (7, 60), (24 * 7, 60), (24 * 8, 3600), (24 * 999, 3600)]
        {
            assert_eq!(ring_for(BEGIN - back * hour, BEGIN).step_s, step, "{back} h");
        }
    }

    #[test]
    fn what_is_damaged_is_set_aside_and_what_is_newer_is_left() {
        let (_folder, path) = history();
        History::open(&path).expect("begun").0.add(&usage(BEGIN), true).expect("written");
        let whole = std::fs::read(&path).expect("there");
        for cut in [0, 7, 40, HEADER as usize, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).expect("ours");
            assert!(read(&path, RINGS[1], 0, BEGIN).is_err(), "{cut}");
        }
        let mut damaged = whole.clone();
        damaged[14] ^= 1;
        std::fs::write(&path, &damaged).expect("ours");
        let (mut history, said) = History::open(&path).expect("begun anew");
        assert!(said.is_some_and(|text| text.contains("damaged")));
        history.add(&usage(BEGIN), true).expect("written");
        assert_eq!(read(&path, RINGS[0], 0, BEGIN).expect("read").len(), 1);

        let mut newer = whole;
        newer[8] = 2;
        std::fs::write(&path, &newer).expect("ours");
        assert!(
            History::open(&path).is_err_and(|error| error.kind() == io::ErrorKind::Unsupported)
        );
        assert_eq!(std::fs::read(&path).expect("there"), newer);
    }
}
