//! bpf(2): maps, one program, and its link to a cgroup. Raw, since every crate for it loads ELF files
//! made by a compiler, and our program is some dozens of instructions.
//!
//! Source: bpf(2); Linux, include/uapi/linux/bpf.h.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u8,
    /// Destination register in the low half, source in the high.
    pub registers: u8,
    /// Of memory or a jump.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

/// The kind of a map (`enum bpf_map_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Keys to values.
    Hash = 1,
    /// The same; the oldest entries make room.
    LruHash = 9,
    /// Keys to maps.
    HashOfMaps = 13,
    /// Prefixes to values: the longest that fits.
    LpmTrie = 11,
    /// Records from the program to one reader.
    Ring = 27,
}

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const MAP_GET_FD_BY_ID: libc::c_int = 14;
const LINK_CREATE: libc::c_int = 28;
const LINK_GET_FD_BY_ID: libc::c_int = 30;

/// The kinds of programs (`enum bpf_prog_type`).
const SOCK_OPS: u32 = 13;
const CGROUP_SOCK_ADDR: u32 = 18;

/// Where a program is called (`enum bpf_attach_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What becomes of a TCP connection.
    Connections = 3,
    /// bind(2) of an IPv4 socket.
    Bind4 = 8,
    /// bind(2) of an IPv6 socket.
    Bind6 = 9,
    /// connect(2) of an IPv4 socket.
    Connect4 = 10,
    /// connect(2) of an IPv6 socket.
    Connect6 = 11,
    /// A datagram of an IPv4 socket that is not connected.
    Send4 = 14,
    /// A datagram of an IPv6 socket that is not connected.
    Send6 = 15,
}

/// `attributes` must be one of the forms of `union bpf_attr` that `command` takes, and what it points to
/// must live across the call.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    // JUSTIFICATION: no crate at hand has bpf(2) without an ELF loader round it.
    // SAFETY: the kernel reads and writes `attributes` within the size given. Every caller in this file
    // lets its pointers lead to buffers of the sizes that the map was made with, alive across the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: bpf(2) has just made this descriptor for this process, close-on-exec.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// A map with keys of `K` bytes and values of `V` bytes.
#[derive(Debug)]
pub struct Map<const K: usize, const V: usize> {
    descriptor: OwnedFd,
}

#[repr(C)]
struct CreateMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
}

fn create_map(
    kind: MapKind,
    (key_size, value_size): (usize, usize),
    max_entries: u32,
    inner: Option<BorrowedFd<'_>>,
    name: &str,
) -> io::Result<OwnedFd> {
    let mut attributes = CreateMap {
        kind: kind as u32,
        key_size: u32::try_from(key_size).map_err(io::Error::other)?,
        value_size: u32::try_from(value_size).map_err(io::Error::other)?,
        max_entries,
        // Such a map must not be allocated ahead (`BPF_F_NO_PREALLOC`).
        flags: u32::from(kind == MapKind::LpmTrie),
        inner_map: inner.map_or(0, |inner| inner.as_raw_fd().cast_unsigned()),
        numa_node: 0,
        name: name_of(name),
    };
    bpf(MAP_CREATE, &mut attributes).map(own)
}

/// A name as the kernel keeps it: at most 15 bytes.
fn name_of(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

#[repr(C)]
struct Element {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl<const K: usize, const V: usize> Map<K, V> {
    /// A new map.
    ///
    /// # Errors
    /// bpf(2).
    pub fn create(kind: MapKind, max_entries: u32, name: &str) -> io::Result<Self> {
        Ok(Self { descriptor: create_map(kind, (K, V), max_entries, None, name)? })
    }

    /// A new map of maps; its values are descriptors of maps like `inner`.
    ///
    /// # Errors
    /// bpf(2).
    pub fn create_of_maps(max_entries: u32, inner: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let descriptor = create_map(MapKind::HashOfMaps, (K, V), max_entries, Some(inner), name)?;
        Ok(Self { descriptor })
    }

    /// A map that was made or pinned with these sizes.
    ///
    /// # Errors
    /// It has others (`InvalidData`).
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let size = |name| number_in(name, descriptor.as_fd()).map(|size| size as usize);
        if (size("key_size")?, size("value_size")?) != (K, V) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a map of other sizes"));
        }
        Ok(Self { descriptor })
    }

    /// For the program, or to pass on.
    #[must_use]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// bpf(2).
    pub fn get(&self, key: &[u8; K]) -> io::Result<Option<[u8; V]>> {
        let mut value = [0; V];
        let mut element = self.element(key, value.as_mut_ptr() as u64, 0);
        match bpf(MAP_LOOKUP_ELEM, &mut element) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// bpf(2); the map is full (`E2BIG`).
    pub fn set(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        let mut element = self.element(key, value.as_ptr() as u64, 0);
        bpf(MAP_UPDATE_ELEM, &mut element).map(|_| ())
    }

    /// Sets the value of `key` if it has none; one that it has stays (`BPF_NOEXIST`).
    ///
    /// # Errors
    /// bpf(2); the map is full (`E2BIG`).
    pub fn add(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        match bpf(MAP_UPDATE_ELEM, &mut self.element(key, value.as_ptr() as u64, 1)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes `key`; one that is not there is no error.
    ///
    /// # Errors
    /// bpf(2).
    pub fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        match bpf(MAP_DELETE_ELEM, &mut self.element(key, 0, 0)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All keys; those that come or go meanwhile may be missing.
    ///
    /// # Errors
    /// bpf(2).
    pub fn keys(&self) -> io::Result<Vec<[u8; K]>> {
        let mut keys: Vec<[u8; K]> = Vec::new();
        loop {
            let mut next = [0; K];
            let mut element = Element {
                map: self.descriptor.as_raw_fd().cast_unsigned(),
                _pad: 0,
                key: keys.last().map_or(0, |key| key.as_ptr() as u64),
                value: next.as_mut_ptr() as u64,
                flags: 0,
            };
            match bpf(MAP_GET_NEXT_KEY, &mut element) {
                Ok(_) if keys.len() < 1 << 17 => keys.push(next),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(keys),
            }
        }
    }

    fn element(&self, key: &[u8; K], value: u64, flags: u64) -> Element {
        Element {
            map: self.descriptor.as_raw_fd().cast_unsigned(),
            _pad: 0,
            key: key.as_ptr() as u64,
            value,
            flags,
        }
    }
}

/// Loads `program` for its hook; on a refusal of the verifier its last words are in the error.
///
/// # Errors
/// bpf(2).
pub fn load(program: &[Instruction], hook: Hook, name: &str) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LoadProgram {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_type: u32,
    }
    let load = |log: &mut [u8]| {
        let mut attributes = LoadProgram {
            kind: if hook == Hook::Connections { SOCK_OPS } else { CGROUP_SOCK_ADDR },
            count: u32::try_from(program.len()).map_err(io::Error::other)?,
            instructions: program.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: u32::try_from(log.len()).map_err(io::Error::other)?,
            log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            kernel_version: 0,
            flags: 0,
            name: name_of(name),
            interface: 0,
            attach_type: hook as u32,
        };
        bpf(PROG_LOAD, &mut attributes).map(own)
    };
    load(&mut []).or_else(|error| {
        // Once more, to hear why.
        let mut log = vec![0; 64 << 10];
        match load(&mut log) {
            Ok(program) => Ok(program),
            Err(_) => {
                let text = String::from_utf8_lossy(&log);
                let said = text.trim_end_matches('\0').trim_end().lines().rev().take(3);
                let said: Vec<&str> = said.collect();
                let said = said.into_iter().rev().collect::<Vec<_>>().join("; ");
                Err(if said.is_empty() {
                    error
                } else {
                    io::Error::new(error.kind(), format!("{error}: {said}"))
                })
            }
        }
    })
}

/// Attaches `program` to the cgroup `group` and all below, beside what is attached there; the link goes
/// with its last descriptor, unless it is pinned.
///
/// # Errors
/// bpf(2).
pub fn attach(program: BorrowedFd<'_>, group: BorrowedFd<'_>, hook: Hook) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct CreateLink {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attributes = CreateLink {
        program: program.as_raw_fd().cast_unsigned(),
        target: group.as_raw_fd().cast_unsigned(),
        attach_type: hook as u32,
        flags: 0,
    };
    bpf(LINK_CREATE, &mut attributes).map(own)
}

#[repr(C)]
struct Pinned {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Gives a map or link a name in a BPF file system, which keeps it.
///
/// # Errors
/// bpf(2).
pub fn pin(object: BorrowedFd<'_>, path: &std::ffi::CStr) -> io::Result<()> {
    let mut attributes = Pinned {
        path: path.as_ptr() as u64,
        descriptor: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(OBJ_PIN, &mut attributes).map(|_| ())
}

/// The number of a map: it has it as long as it lives, and no other of this boot gets it.
///
/// # Errors
/// The kernel does not say.
pub fn map_number(map: BorrowedFd<'_>) -> io::Result<u32> {
    number_in("map_id", map)
}

/// The number of a link.
///
/// # Errors
/// The kernel does not say.
pub fn link_number(link: BorrowedFd<'_>) -> io::Result<u32> {
    number_in("link_id", link)
}

/// proc_pid_fdinfo(5).
fn number_in(name: &str, object: BorrowedFd<'_>) -> io::Result<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[repr(C)]
struct Numbered {
    number: u32,
    next: u32,
    flags: u32,
}

/// The map of a number.
///
/// # Errors
/// bpf(2): it has gone (`NotFound`).
pub fn map_of_number(number: u32) -> io::Result<OwnedFd> {
    bpf(MAP_GET_FD_BY_ID, &mut Numbered { number, next: 0, flags: 0 }).map(own)
}

/// The link of a number.
///
/// # Errors
/// bpf(2): it has gone (`NotFound`).
pub fn link_of_number(number: u32) -> io::Result<OwnedFd> {
    bpf(LINK_GET_FD_BY_ID, &mut Numbered { number, next: 0, flags: 0 }).map(own)
}
