//! Files of groups, kept open and read anew. To open one is slow: kernfs takes locks at each part of its path, and most
//! of a sample and of a report would be that. One that is open costs the kernel a page.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use super::{files, parse};

/// How many are kept: those of an environment and of two instances, as a reload has them.
const MOST: usize = 32;

/// The open files of one driver, the oldest first.
#[derive(Debug, Default)]
pub struct Kept(RefCell<Vec<One>>);

#[derive(Debug)]
struct One {
    /// Folder and name, compared byte by byte: the same group is always written in the same way.
    folder: OsString,
    name: String,
    file: File,
}

impl Kept {
    /// As [`files::measure`], of a file in `folder`.
    pub fn measure(&self, folder: &Path, name: &str) -> Option<String> {
        let folder = folder.as_os_str();
        let mut kept = self.0.borrow_mut();
        let is_it = |one: &One| one.name == name && one.folder == folder;
        if let Some(at) = kept.iter().position(is_it) {
            match files::read_once(&kept[at].file) {
                Some(text) if !text.is_empty() => return Some(text),
                // Its group is gone (ENODEV); another may be in that place.
                _ => drop(kept.remove(at)),
            }
        }
        let file = File::open(Path::new(folder).join(name)).ok()?;
        let text = files::read_once(&file)?;
        if kept.len() >= MOST {
            kept.remove(0);
        }
        kept.push(One { folder: folder.to_owned(), name: name.to_owned(), file });
        Some(text)
    }

    /// The same of a file of one number.
    pub fn number(&self, folder: &Path, name: &str) -> Option<u64> {
        parse::number(&self.measure(folder, name)?)
    }

    /// Closes all of them.
    pub fn close(&self) {
        self.0.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_there_now_is_read_and_files_are_bounded() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("app");
        fs::create_dir(&folder).expect("ours");
        let kept = Kept::default();
        let read = |name| kept.measure(&folder, name);
        assert_eq!(read("cpu.stat"), None);
        fs::write(folder.join("cpu.stat"), "one").expect("ours");
        assert_eq!(read("cpu.stat").as_deref(), Some("one"));
        // In place, as the kernel does.
        fs::write(folder.join("cpu.stat"), "two and more").expect("ours");
        assert_eq!(read("cpu.stat").as_deref(), Some("two and more"));
        assert_eq!(read("stat"), None, "of another name");
        // A file of nothing is asked for anew: of a group that went nothing comes.
        fs::write(folder.join("cpu.stat"), "").expect("ours");
        assert_eq!(read("cpu.stat").as_deref(), Some(""));
        fs::remove_file(folder.join("cpu.stat")).expect("ours");
        assert_eq!(read("cpu.stat"), None);
        for number in 0..40 {
            let name = format!("file{number}");
            fs::write(folder.join(&name), &name).expect("ours");
            assert_eq!(kept.measure(&folder, &name), Some(name));
        }
        assert_eq!(kept.0.borrow().len(), MOST);
        kept.close();
        assert_eq!(kept.0.borrow().len(), 0);
    }
}
