//! The files of a log: `out.log`, which is written, and those put aside before it, called by the time when they
//! were: `out.log.20261126T010203.123Z`, and packed `out.log.20261126T010203.123Z.gz`.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::log_file::open_log;
use super::log_line::{parse_time, time_text};
use super::log_pack::Packed;
use crate::sys::files;

/// The end of a packed file's name.
pub const PACKED: &str = ".gz";

/// The end of the name of one that is being packed, after that of the unpacked one.
pub const PARTIAL: &str = ".partial";

/// A file that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Older {
    /// When, in milliseconds since 1970; of two files of a log never the same.
    pub at_millis: u64,
    /// Its path, unpacked or packed.
    pub path: PathBuf,
    /// Whether it is packed.
    pub is_packed: bool,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
}

/// The path of `log` put aside at that time.
#[must_use]
pub fn aside(log: &Path, at_millis: u64) -> PathBuf {
    let time = time_text(at_millis);
    let compact = time.iter().filter(|byte| !b"-:".contains(byte));
    let compact: String = compact.map(|byte| char::from(*byte)).collect();
    files::with_suffix(log, &format!(".{compact}"))
}

/// The time in the name of a file that was put aside: `20261126T010203.123Z`.
fn time_of(compact: &str) -> Option<u64> {
    if compact.len() != 20 || !compact.is_ascii() {
        return None;
    }
    let (date, time) = compact.split_at(8);
    let text = format!(
        "{}-{}-{}{}:{}:{}",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..3],
        &time[3..5],
        &time[5..]
    );
    parse_time(text.as_bytes())
}

/// Those put aside before `log`, the oldest first. One that is being packed is there twice for a moment, and
/// told once.
///
/// # Errors
/// The folder cannot be read.
pub fn older(log: &Path) -> io::Result<Vec<Older>> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let rest = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
        let Some(rest) = rest else { continue };
        let (compact, is_packed) = match rest.strip_suffix(PACKED) {
            Some(compact) => (compact, true),
            None => (rest, false),
        };
        let Some(at_millis) = time_of(compact) else { continue };
        let mut found_one = |path: PathBuf, is_packed, metadata: Metadata| {
            // What it takes: a file system may keep less or more than its length.
            let bytes = metadata.len().max(metadata.blocks() * 512);
            found.push(Older { at_millis, path, is_packed, bytes });
        };
        if let Ok(metadata) = entry.metadata() {
            found_one(entry.path(), is_packed, metadata);
        } else if !is_packed {
            // One that went meanwhile was packed, or removed.
            let packed = files::with_suffix(&entry.path(), PACKED);
            if let Ok(metadata) = std::fs::symlink_metadata(&packed) {
                found_one(packed, true, metadata);
            }
        }
    }
    found.sort_by_key(|older| (older.at_millis, older.is_packed));
    found.dedup_by_key(|older| older.at_millis);
    Ok(found)
}

/// Removes it, packed, unpacked and half packed.
///
/// # Errors
/// A file could not be removed.
pub fn remove(older: &Older) -> io::Result<()> {
    let path = match older.path.to_str().and_then(|path| path.strip_suffix(PACKED)) {
        Some(unpacked) if older.is_packed => PathBuf::from(unpacked),
        _ => older.path.clone(),
    };
    files::remove_if_there(&path)?;
    files::remove_if_there(&files::with_suffix(&path, PACKED))?;
    // Of a packing that was ended in the midst of it.
    files::remove_if_there(&files::with_suffix(&path, PARTIAL))
}

/// A time for a file that is put aside now: later than those of all others.
#[must_use]
pub fn next_time(older: &[Older], now_millis: u64) -> u64 {
    older.last().map_or(now_millis, |last| now_millis.max(last.at_millis + 1))
}

/// The text of a file, packed or not.
#[derive(Debug)]
pub enum Body {
    /// As it is.
    Plain(File),
    /// Packed by swrun.
    Packed(Box<Packed>),
}

impl Body {
    /// Opens a file that was put aside; `None`: it was removed meanwhile.
    ///
    /// # Errors
    /// It cannot be read, or was packed by another program.
    pub fn open(older: &Older) -> io::Result<Option<Self>> {
        let mut path = older.path.clone();
        if !older.is_packed {
            match open_log(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Packed since it was listed.
                    path = files::with_suffix(&path, PACKED);
                }
                opened => return opened.map(|file| Some(Self::Plain(file))),
            }
        }
        match open_log(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => Ok(Some(Self::Packed(Box::new(Packed::open(file)?)))),
        }
    }

    /// The length of the text, in bytes.
    ///
    /// # Errors
    /// The file cannot be asked.
    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len()),
            Self::Packed(packed) => Ok(packed.length()),
        }
    }

    /// Reads text from `offset` on; 0 at the end.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read_at(buffer, offset),
            Self::Packed(packed) => packed.read_at(buffer, offset),
        }
    }
}

impl From<File> for Body {
    fn from(file: File) -> Self {
        Self::Plain(file)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::log_pack::pack;
    use super::*;

    #[test]
    fn what_was_put_aside_is_found_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        assert_eq!(
            aside(&log, 1_795_395_723_123),
            folder.path().join("out.log.20261123T010203.123Z")
        );
        for at in [3, 1, 2] {
            fs::write(aside(&log, at), format!("text {at}")).expect("written");
        }
        // Packed, and not yet removed; packed alone.
        let mut packed = Vec::new();
        pack(&b"text 2"[..], &mut packed).expect("in memory");
        fs::write(format!("{}.gz", aside(&log, 2).display()), &packed).expect("written");
        fs::write(format!("{}.gz", aside(&log, 4).display()), &packed).expect("written");
        for other in
            ["out.log", "out.log.1", "out.log.gz", "err.log.20261123T010203.123Z", "out.log.x.gz"]
        {
            fs::write(folder.path().join(other), "").expect("written");
        }
        let found = older(&log).expect("readable");
        let times: Vec<_> = found.iter().map(|o| (o.at_millis, o.is_packed)).collect();
        assert_eq!(times, [(1, false), (2, false), (3, false), (4, true)]);
        assert_eq!((next_time(&found, 3), next_time(&found, 9)), (5, 9));
        // Packed between the list and the look.
        fs::remove_file(aside(&log, 2)).expect("ours");
        let text = |older: &Older| {
            let body = Body::open(older).expect("readable")?;
            let mut buffer = [0; 32];
            let read = body.read_at(&mut buffer, 0).expect("readable");
            assert_eq!(read as u64, body.length().expect("known"));
            Some(String::from_utf8_lossy(&buffer[..read]).into_owned())
        };
        fs::remove_file(aside(&log, 1)).expect("ours");
        let texts: Vec<_> = found.iter().map(text).collect();
        let wanted = [None, Some("text 2"), Some("text 3"), Some("text 2")];
        assert_eq!(texts, wanted.map(|text| text.map(str::to_owned)));
    }
}
