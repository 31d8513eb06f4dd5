//! A small file system of a test's own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A disk of its own, as small as it is told.
pub struct Disk(PathBuf);

impl Disk {
    pub fn new(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).expect("ours");
        let disk = Self(path);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=750"), "disk"]);
        disk
    }

    /// Gives it another size.
    pub fn grow(&self, size: &str) {
        self.mount(&["-o", &format!("remount,size={size}")]);
    }

    /// Makes it read-only, or writable again.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.mount(&["-o", if is_read_only { "remount,ro" } else { "remount,rw" }]);
    }

    fn mount(&self, words: &[&str]) {
        let done = Command::new("mount").args(words).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "mount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
