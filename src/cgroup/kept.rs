//! Files of groups, kept open and read anew. To open one is slow: kernfs takes locks at each part of its path, and most
//! of a sample and of a report would be that. One that is open costs the kernel a page.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{files, parse};

/// How many are kept: those of an environment and of two instances, as a reload has them.
const MOST: usize = 32;

/// After this time one that is not there is looked for again: somebody above may have handed a controller down.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// `BASE/app` in one hierarchy, or of it the group of one instance.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Where the hierarchy is mounted.
    pub root: &'a Path,
    /// The environment's group.
    pub base: &'a Path,
    /// The instance.
    pub id: Option<u32>,
}

impl Group<'_> {
    fn folder(&self) -> Option<PathBuf> {
        let app = files::beneath(self.root, self.base).ok()?.join("app");
        Some(self.id.map_or_else(|| app.clone(), |id| app.join(id.to_string())))
    }
}

/// The open files of one driver, the oldest first.
#[derive(Debug, Default)]
pub struct Kept(RefCell<Vec<One>>);

#[derive(Debug)]
struct One {
    root: PathBuf,
    base: PathBuf,
    id: Option<u32>,
    name: &'static str,
    /// None while it is known to be missing, and since when.
    file: Result<File, Instant>,
}

impl One {
    /// Byte by byte: the same group is always written in the same way.
    fn is(&self, group: Group<'_>, name: &str) -> bool {
        self.id == group.id
            && self.name == name
            && self.base.as_os_str() == group.base.as_os_str()
            && self.root.as_os_str() == group.root.as_os_str()
    }
}

impl Kept {
    /// What `take` makes of the text of a file of `group`; `None` where it could not be read.
    pub fn measure<T>(
        &self,
        group: Group<'_>,
        name: &'static str,
        take: impl Fn(&str) -> T,
    ) -> Option<T> {
        let mut kept = self.0.borrow_mut();
        if let Some(at) = kept.iter().position(|one| one.is(group, name)) {
            match &kept[at].file {
                Ok(file) => {
                    if let Some(taken) = files::read_once(file, &take) {
                        return Some(taken);
                    }
                }
                Err(since) if since.elapsed() < MISSING_FOR => return None,
                Err(_) => {}
            }
            // Its group is gone (ENODEV); another may be in that place.
            kept.remove(at);
        }
        let file = File::open(group.folder()?.join(name)).map_err(|_| Instant::now());
        let taken = file.as_ref().ok().and_then(|file| files::read_once(file, take));
        if kept.len() >= MOST {
            kept.remove(0);
        }
        let Group { root, base, id } = group;
        kept.push(One { root: root.to_owned(), base: base.to_owned(), id, name, file });
        taken
    }

    /// The same of a file of one number.
    pub fn number(&self, group: Group<'_>, name: &'static str) -> Option<u64> {
        self.measure(group, name, parse::number)?
    }

    /// Closes all of them, and knows nothing of any.
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
        let folder = temp.path().join("shop/app/1");
        fs::create_dir_all(&folder).expect("ours");
        let kept = Kept::default();
        let group = Group { root: temp.path(), base: Path::new("shop"), id: Some(1) };
        let read = |name| kept.measure(group, name, str::to_owned);
        assert_eq!(read("cpu.stat"), None);
        fs::write(folder.join("cpu.stat"), "one").expect("ours");
        assert_eq!(read("cpu.stat"), None, "one that is missing is not looked for at each time");
        kept.close();
        assert_eq!(read("cpu.stat").as_deref(), Some("one"));
        // In place, as the kernel does.
        fs::write(folder.join("cpu.stat"), "").expect("ours");
        assert_eq!(read("cpu.stat").as_deref(), Some(""), "of a group that did nothing yet");
        fs::write(folder.join("cpu.stat"), "two and more").expect("ours");
        assert_eq!(read("cpu.stat").as_deref(), Some("two and more"));
        assert_eq!(read("stat"), None, "of another name");
        let other = Group { id: None, ..group };
        assert_eq!(kept.measure(other, "cpu.stat", str::to_owned), None, "of another group");
        for name in (0..40).map(|number| &*format!("file{number}").leak()) {
            fs::write(folder.join(name), name).expect("ours");
            assert_eq!(read(name).as_deref(), Some(name));
        }
        assert_eq!(kept.0.borrow().len(), MOST);
        kept.close();
        assert_eq!(kept.0.borrow().len(), 0);
    }
}
