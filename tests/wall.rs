//! The wall of ports, against this machine's kernel: the program attached to a cgroup of each test's own,
//! in a network namespace of its own. Needs root and a kernel with cgroup BPF.

#[path = "common/netns.rs"]
mod netns;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use swrun::cgroup;
use swrun::model::{Port, PortLine, PortStatus, Protocol};
use swrun::ports::{Tenant, Wall};

const TCP: Port = Port { port: 3002, proto: Protocol::Tcp };
const UDP: Port = Port { port: 3002, proto: Protocol::Udp };
const LOW: Port = Port { port: 81, proto: Protocol::Tcp };
const OTHER: Port = Port { port: 3001, proto: Protocol::Tcp };

/// A group with two environments and a place outside of both, and a wall round it.
struct Bed {
    folder: tempfile::TempDir,
    base: PathBuf,
    file: PathBuf,
    level: u32,
}

impl Bed {
    /// `None`, said aloud, where the machine does not allow it.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: making cgroups needs root");
            return None;
        }
        netns::enter();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tree = v2_tree();
        let base = tree.join(format!("swrun-wall-{}-{number}", std::process::id()));
        for group in ["shop", "blog", "stranger"] {
            fs::create_dir_all(base.join(group)).expect("root may");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wall");
        Some(Self { folder, base, file, level: 2 })
    }

    fn wall(&self) -> Wall {
        Wall::build(&self.file, &self.base, self.level, None).expect("a wall")
    }

    fn tenant(&self, name: &str, ports: &[Port]) -> Tenant {
        let mut tenant = self.wall().enter(&self.base.join(name)).expect("it moves in");
        tenant.own(ports, &[], true).expect("they are free");
        tenant.listen_to_refusals().expect("possible");
        tenant
    }

    /// Runs Python in `group`, as nobody; gives what it prints.
    fn python(&self, group: &str, script: &str) -> Output {
        self.python_as(65534, group, script)
    }

    fn python_as(&self, uid: u32, group: &str, script: &str) -> Output {
        let procs = self.base.join(group).join("cgroup.procs");
        let path = self.folder.path().join("script.py");
        fs::write(&path, format!("{PRELUDE}{script}")).expect("our own folder");
        fs::set_permissions(
            self.folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("our own folder");
        let line = format!(
            "echo $$ > {}; exec setpriv --reuid {uid} --clear-groups {} /usr/bin/python3 {}",
            procs.display(),
            if uid == 0 { "" } else { "--bounding-set -all" },
            path.display()
        );
        Command::new("sh").args(["-c", &line]).output().expect("a shell")
    }

    #[track_caller]
    fn says(&self, group: &str, script: &str, wanted: &str) {
        let output = self.python(group, script);
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(is_as(said.trim(), wanted), "in \"{group}\": {script}\n{said}\n{errors}");
    }
}

fn refused(wall: &Wall, Port { port, proto }: Port) -> Option<u64> {
    let mut line = PortLine::idle("shop", &PortStatus { port, proto, state: None });
    wall.count(&mut line);
    line.refused
}

/// Whether all words are as wanted; a guest kernel may lack a kind of socket, which says "none".
fn is_as(said: &str, wanted: &str) -> bool {
    let is_guest = std::env::var_os("SWRUN_GUEST").is_some();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (said, wanted) = (words(said), words(wanted));
    let is_one = |(said, wanted): (&String, &String)| {
        said == wanted || (is_guest && said == "none" && (wanted == "ok" || wanted == "EACCES"))
    };
    said.len() == wanted.len() && said.iter().zip(&wanted).all(is_one)
}

impl Drop for Bed {
    fn drop(&mut self) {
        for group in ["shop", "blog", "stranger", ""] {
            let _ = fs::remove_dir(self.base.join(group));
        }
    }
}

fn v2_tree() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    PathBuf::from(line.and_then(|line| line.split(' ').nth(1)).expect("a cgroup2 mount"))
}

/// `attempt(…)` prints "ok" or the errno of a bind.
const PRELUDE: &str = r#"
import ctypes, errno, os, socket, struct, sys
from socket import *
libc = ctypes.CDLL(None, use_errno=True)
IPPROTO_MPTCP, IPPROTO_UDPLITE = 262, 136
def raw(sock, address):
    if libc.bind(sock.fileno(), address, len(address)) == 0:
        return "ok"
    return errno.errorcode[ctypes.get_errno()]
def v4(port, host="0.0.0.0", family=AF_INET):
    return struct.pack("=H", family) + struct.pack("!H", port) + inet_aton(host) + bytes(8)
def v6(port, host="::"):
    return struct.pack("=H", AF_INET6) + struct.pack("!HI", port, 0) + inet_pton(AF_INET6, host) + bytes(4)
def attempt(port, kind=SOCK_STREAM, proto=0, family=AF_INET, address=None, options=()):
    try:
        sock = socket(family, kind, proto)
    except OSError as error:
        assert error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT), error
        return "none"
    with sock:
        for level, name, value in options:
            sock.setsockopt(level, name, value)
        if address is None:
            address = v4(port) if family == AF_INET else v6(port)
        return raw(sock, address)
"#;

#[test]
fn an_environment_binds_its_own_ports_and_no_other() {
    let Some(bed) = Bed::new() else { return };
    let _shop = bed.tenant("shop", &[TCP, UDP, LOW]);
    let _blog = bed.tenant("blog", &[OTHER]);
    let every_way = r#"
for port in (3002, 81, 3001, 8080):
    print(port, *(
        attempt(port, **how) for how in (
            dict(),
            dict(family=AF_INET6),
            dict(proto=IPPROTO_MPTCP),
            dict(family=AF_INET6, proto=IPPROTO_MPTCP),
            dict(address=v4(port, family=0)),
            dict(address=v4(port, "127.0.0.2")),
            dict(family=AF_INET6, options=[(IPPROTO_IPV6, IPV6_V6ONLY, 1)]),
            dict(options=[(SOL_SOCKET, SO_REUSEADDR, 1), (SOL_SOCKET, SO_REUSEPORT, 1)]),
        )))
print("udp", *(attempt(port, SOCK_DGRAM, family=family, proto=proto, options=[(SOL_SOCKET, SO_REUSEADDR, 1)])
    for port in (3002, 81, 3001)
    for family in (AF_INET, AF_INET6)
    for proto in (0, IPPROTO_UDPLITE)))
"#;
    let own = "ok ok ok ok ok ok ok ok";
    let no = "EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES";
    bed.says(
        "shop",
        every_way,
        &format!("3002 {own}\n81 {own}\n3001 {no}\n8080 {no}\nudp ok ok ok ok {no}"),
    );
    // Strangers: what is owned is not theirs, the rest is.
    let output = bed.python_as(0, "stranger", every_way);
    let no_udp = "EACCES EACCES EACCES EACCES";
    let said = String::from_utf8_lossy(&output.stdout);
    let wanted =
        format!("3002 {no}\n81 {no}\n3001 {no}\n8080 {own}\nudp {no_udp} ok ok ok ok ok ok ok ok");
    assert!(is_as(&said, &wanted), "{said}");
}

#[test]
fn what_is_no_port_of_the_host_goes_on_as_always() {
    let Some(bed) = Bed::new() else { return };
    let _shop = bed.tenant("shop", &[TCP]);
    bed.says(
        "shop",
        r#"
print(attempt(0), attempt(0, family=AF_INET6), attempt(0, SOCK_DGRAM))
unix = socket(AF_UNIX); unix.bind("\0swrun-test"); print("unix")
netlink = socket(AF_NETLINK, SOCK_RAW, 0); netlink.bind((0, 0)); print("netlink")
"#,
        "ok ok ok\nunix\nnetlink",
    );
    // Another network namespace, as a container has it.
    let output = {
        let script = "print(attempt(3002), attempt(8080))";
        let path = bed.folder.path().join("inside.py");
        fs::write(&path, format!("{PRELUDE}{script}")).expect("our own folder");
        let procs = bed.base.join("shop/cgroup.procs");
        let line = format!(
            "echo $$ > {}; exec unshare -n /usr/bin/python3 {}",
            procs.display(),
            path.display()
        );
        Command::new("sh").args(["-c", &line]).output().expect("a shell")
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok ok");
}

/// Who binds counts, not who made the socket.
#[test]
fn a_socket_that_was_handed_over_gives_nobody_a_port() {
    let Some(bed) = Bed::new() else { return };
    let _shop = bed.tenant("shop", &[TCP]);
    let script = format!(
        r#"
ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
made_outside = socket()
if os.fork() == 0:
    open("{}", "w").write(str(os.getpid()))
    made_inside = socket()
    send_fds(theirs, [b"x"], [made_inside.fileno()])
    print("inside:", raw(made_outside, v4(8080)), raw(made_outside, v4(3002)), flush=True)
    os._exit(0)
_, descriptors, _, _ = recv_fds(ours, 1, 1)
os.wait()
print("outside:", raw(socket(fileno=descriptors[0]), v4(3002)), flush=True)
"#,
        bed.base.join("shop/cgroup.procs").display()
    );
    let output = bed.python_as(0, "stranger", &script);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), "inside: EACCES ok\noutside: EACCES", "{errors}");
}

#[test]
fn a_refusal_is_told_with_program_pid_and_port() {
    let Some(bed) = Bed::new() else { return };
    let mut shop = bed.tenant("shop", &[TCP]);
    let mut blog = bed.tenant("blog", &[OTHER]);
    bed.says(
        "shop",
        "print(os.getpid() > 0, attempt(3001), attempt(9000, SOCK_DGRAM))",
        "True EACCES EACCES",
    );
    let told = shop.refusals();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].port, OTHER);
    assert_eq!(told[1].port, Port { port: 9000, proto: Protocol::Udp });
    assert!(
        told.iter().all(|one| one.program == "python3" && one.uid == 65534 && !one.is_stranger)
    );
    assert!(blog.refusals().is_empty(), "it is told to whom it concerns");
    assert_eq!(refused(blog.wall(), OTHER), Some(1), "and counted at the port");

    let output = bed.python_as(0, "stranger", "print(attempt(3001)); print(os.getpid())");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pid: u32 = text.lines().nth(1).expect("a pid").parse().expect("a number");
    let told = blog.refusals();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].is_stranger && told[0].pid == pid && told[0].uid == 0, "{told:?}");
    assert_eq!(refused(blog.wall(), OTHER), Some(2));

    // More than the ring holds: some are not told, none is allowed, and it goes on.
    bed.says("shop", "print({attempt(9000) for _ in range(10000)})", "{'EACCES'}");
    assert!(shop.refusals().len() > 50);
    bed.says("shop", "print(attempt(9001))", "EACCES");
    assert_eq!(shop.refusals().len(), 1);
}

#[test]
fn a_stopped_environment_keeps_its_port_and_a_forgotten_one_gives_it_back() {
    let Some(bed) = Bed::new() else { return };
    let wall = bed.wall();
    wall.reserve(&[TCP, UDP], &bed.base).expect("possible");
    bed.says(
        "stranger",
        "print(attempt(3002), attempt(3002, SOCK_DGRAM), attempt(3001))",
        "EACCES EACCES ok",
    );
    let mut shop = bed.tenant("shop", &[TCP]);
    bed.says("shop", "print(attempt(3002), attempt(3002, SOCK_DGRAM))", "ok EACCES");
    // What a tenant has is not taken from it.
    wall.reserve(&[], &bed.base).expect("possible");
    bed.says("shop", "print(attempt(3002))", "ok");
    bed.says("stranger", "print(attempt(3002), attempt(3002, SOCK_DGRAM))", "EACCES ok");
    shop.leave();
    bed.says("shop", "print(attempt(3002))", "EACCES");
    wall.reserve(&[], &bed.base).expect("possible");
    bed.says("stranger", "print(attempt(3002))", "ok");
}

#[test]
fn only_rings_of_those_who_moved_out_or_are_dead_are_let_go_of() {
    let Some(bed) = Bed::new() else { return };
    let wall = bed.wall();
    let mut shop = bed.tenant("shop", &[TCP]);
    let mut blog = bed.tenant("blog", &[OTHER]);
    assert_eq!(wall.left_rings().expect("possible").len(), 0);
    shop.leave();
    let left = wall.left_rings().expect("possible");
    assert_eq!(left.len(), 1);
    let mut next = bed.tenant("shop", &[TCP]);
    wall.let_go(&left).expect("possible");
    bed.says("shop", "print(attempt(3001))", "EACCES");
    assert_eq!(next.refusals().len(), 1, "who moved in since has a ring");
    next.leave();
    let left = wall.left_rings().expect("possible");
    wall.let_go(&left).expect("possible");
    assert_eq!(wall.left_rings().expect("possible").len(), 0);
    bed.says("blog", "print(attempt(3002))", "EACCES");
    assert_eq!(blog.refusals().len(), 1, "it has its ring still");
    // As one whose monitor was killed, and whose group went.
    fs::remove_dir(bed.base.join("blog")).expect("it is empty");
    wall.reserve(&[], &bed.base).expect("possible");
    assert_eq!(wall.left_rings().expect("possible").len(), 1);
}

#[test]
fn the_wall_is_found_again_and_falls_with_its_last_holder() {
    let Some(bed) = Bed::new() else { return };
    let first = bed.wall();
    first.reserve(&[TCP], &bed.base).expect("possible");
    let second = Wall::find(&bed.file).expect("it stands");
    drop(first);
    bed.says("stranger", "print(attempt(3002))", "EACCES");
    assert_eq!(refused(&second, TCP), Some(1));
    drop(second);
    // A child of another test's has copies of all descriptors until it executes its program, and there is
    // no event for its end.
    let deadline = Instant::now() + Duration::from_secs(60);
    let gone = loop {
        match Wall::find(&bed.file) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "somebody holds it still"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    bed.says("stranger", "print(attempt(3002))", "ok");
    // Another level is another wall; but while the old one stands, it is the one.
    let third = bed.wall();
    third.reserve(&[TCP], &bed.base).expect("possible");
    let other = || Wall::build(&bed.file, &bed.base, 3, None).expect("a wall");
    assert_eq!(refused(&other(), TCP), Some(0));
    drop(third);
    let deadline = Instant::now() + Duration::from_secs(60);
    while refused(&other(), TCP).is_some() {
        assert!(Instant::now() < deadline, "it is still the old one");
        // Between two looks nobody has it, or each look would keep it for the next.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sockets_of_a_held_port_can_stand_beside_one_another_for_one_user_alone() {
    let Some(bed) = Bed::new() else { return };
    let shop = bed.tenant("shop", &[TCP]);
    bed.says(
        "shop",
        r#"
one, two = socket(), socket()
print(one.getsockopt(SOL_SOCKET, SO_REUSEPORT), raw(one, v4(3002)), one.getsockopt(SOL_SOCKET, SO_REUSEPORT))
print(raw(two, v4(3002)))
one.listen(); two.listen(); print("both")
"#,
        "0 ok 1\nok\nboth",
    );
    let (mut own, mut asked) = (0, 0);
    let output = bed.python(
        "shop",
        r#"
SO_COOKIE = 57
one, two = socket(), socket()
two.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
for s in (one, two):
    raw(s, v4(3002)); print(struct.unpack("Q", s.getsockopt(SOL_SOCKET, SO_COOKIE, 8))[0])
"#,
    );
    for (line, place) in String::from_utf8_lossy(&output.stdout).lines().zip([&mut own, &mut asked])
    {
        *place = line.parse().expect("a cookie");
    }
    assert!(shop.was_marked(own) && !shop.was_marked(asked), "{own} {asked}");
}

#[test]
fn what_is_read_once_decides() {
    let Some(bed) = Bed::new() else { return };
    let _shop = bed.tenant("shop", &[TCP]);
    // The address changes under the call; at the end of a page, too short, too long.
    bed.says(
        "shop",
        r#"
import threading, mmap
class Address(ctypes.Structure):
    _fields_ = [("family", ctypes.c_uint16), ("port", ctypes.c_uint16), ("rest", ctypes.c_char * 12)]
address = Address(AF_INET, htons(3002), bytes(12))
done = False
def flip():
    while not done:
        address.port = htons(9000); address.port = htons(3002)
thread = threading.Thread(target=flip); thread.start()
got = set()
for _ in range(3000):
    with socket() as sock:
        if libc.bind(sock.fileno(), ctypes.byref(address), 16) == 0:
            got.add(sock.getsockname()[1])
done = True; thread.join()
print(got)
area = mmap.mmap(-1, 8192)
base = ctypes.addressof(ctypes.c_char.from_buffer(area))
libc.mprotect(ctypes.c_void_p(base + 4096), 4096, 0)
ctypes.memmove(base + 4096 - 16, v4(3002), 16)
def at(where, length):
    with socket() as sock:
        r = libc.bind(sock.fileno(), ctypes.c_void_p(where), length)
        return "ok" if r == 0 else errno.errorcode[ctypes.get_errno()]
print(at(base + 4080, 16), at(base + 4088, 16), at(base + 4080, 8), at(base + 4080, 0), at(base + 4080, 300))
"#,
        "{3002}\nok EFAULT EINVAL EINVAL EINVAL",
    );
}

#[test]
fn the_driver_and_the_wall_mean_the_same_tree() {
    let Some(bed) = Bed::new() else { return };
    let driver = cgroup::detect(Path::new("/proc/self/mountinfo"), Path::new("/proc/self/cgroup"))
        .expect("this machine's cgroups");
    assert!(bed.base.starts_with(driver.tree()), "{}", driver.tree().display());
}
