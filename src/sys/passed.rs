//! Descriptors that came over an exec, by their numbers.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::Mutex;

/// Takes the descriptors of `numbers`, close-on-exec from here on. Each number can be taken once, and only one
/// of those that whoever started this process says are open for it: then nothing that was opened since has
/// that number.
///
/// # Errors
/// A number is 0 to 2 or was taken before (`InvalidInput`), or is not open (fcntl(2)).
pub fn take(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
    let mut taken = TAKEN.lock().map_err(|_| io::Error::other("poisoned"))?;
    let mut owned = Vec::with_capacity(numbers.len());
    for number in numbers {
        if *number < 3 || taken.contains(number) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // JUSTIFICATION: an inherited descriptor is a number and nothing else.
        // SAFETY: fcntl on a number touches no memory. The number is open, was not taken before and, by
        // this function's contract, has been open since this process began: so nobody else owns it.
        let descriptor = unsafe {
            if libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) == -1 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(*number)
        };
        taken.push(*number);
        owned.push(descriptor);
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use super::*;

    #[test]
    fn a_number_is_taken_once_and_must_be_open() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        let number = OwnedFd::from(reader).into_raw_fd();
        let taken = take(&[number]).expect("it is ours");
        assert!(take(&[number]).is_err(), "twice");
        assert!(take(&[1]).is_err(), "stdout");
        assert!(take(&[99_999]).is_err(), "not open");
        drop(taken);
    }
}
