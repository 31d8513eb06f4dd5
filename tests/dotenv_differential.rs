//! `formats::dotenv::parse` against the real npm package `dotenv` 16, run by node, on generated
//! files that are awkward but plausible; no difference is allowed.
//!
//! `SWRUN_NPM` names the folder into which `npm install --prefix "$SWRUN_NPM" dotenv@16` went.
//! `SWRUN_SEED` repeats a run; the seed is printed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use swrun::formats::dotenv::{DotenvError, parse};

const FILES: usize = 100_000;
const BATCH: usize = 20_000;

/// SplitMix64 (Steele, Lea, Flood 2014): the same files from the same seed on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a [u8]]) -> &'a [u8] {
        of[self.roll(of.len())]
    }

    /// Up to `most - 1` of them, one after the other.
    fn some(&mut self, of: &[&[u8]], most: usize) -> Vec<u8> {
        (0..self.roll(most)).flat_map(|_| self.one(of).to_vec()).collect()
    }
}

const KEYS: &[&[u8]] = &[
    b"A",
    b"B",
    b"DB_PASSWORD",
    b"a.b",
    b"MY-KEY",
    b"1A",
    b"-",
    b".",
    b"_",
    b"export",
    b"exportA",
    b"A",
    b"constructor",
    b"__proto__",
    b"7",
    b"",
    "Ä".as_bytes(),
    b"A B",
];
const SPACES: &[&[u8]] = &[
    b" ",
    b" ",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    "\u{a0}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{2003}".as_bytes(),
    "\u{3000}".as_bytes(),
    "\u{85}".as_bytes(),
    "\u{180e}".as_bytes(),
    "\u{200b}".as_bytes(),
    "\u{2028}".as_bytes(),
    b"\n",
    b"\r",
];
const ENDS: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    "\u{2028}".as_bytes(),
    "\u{2029}".as_bytes(),
    b" \n",
    b"\n ",
    b"",
    b"\r\r\n",
];
const QUOTES: &[&[u8]] = &[b"'", b"\"", b"`", b"'", b"\"", b"\\'", b"\\\"", b"\\`", b"''", b""];
const PARTS: &[&[u8]] = &[
    b"x",
    b"1",
    b"hello world",
    b"pa$$w0rd",
    b"${A}",
    b"$B",
    b"it's",
    b"'",
    b"\"",
    b"`",
    b"\\'",
    b"\\\"",
    b"\\`",
    b"\\\\",
    b"\\",
    b"\\n",
    b"\\r",
    b"\\\\n",
    b"\\t",
    b"#",
    b" #",
    b"# it's",
    b"=",
    b":",
    b"A=",
    b"\nB=",
    b"\n",
    b"\r\n",
    b"\r",
    b" ",
    b"  ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\0",
    b"{\"a\":1}",
    b"postgres://u:p@h/db?x=1",
    "\u{2028}".as_bytes(),
    "\u{2029}".as_bytes(),
    "\u{2028}'".as_bytes(),
    "'\u{2028}".as_bytes(),
    "\"\u{2029}\"".as_bytes(),
    "\u{a0}".as_bytes(),
    "\u{feff}".as_bytes(),
    "é".as_bytes(),
    "😀".as_bytes(),
    b"\xff",
    b"\xe9",
    b"\xc3",
    b"\xf0\x9f",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80",
    b"\xe2\x80",
    b"\xc0\xaf",
    b"\xf5",
];
/// For soup: the signs that the expression itself knows.
const SIGNS: &[&[u8]] = &[
    b"A",
    b"n",
    b"=",
    b"=",
    b":",
    b"'",
    b"\"",
    b"`",
    b"'",
    b"\"",
    b"\\",
    b"#",
    b" ",
    b"\n",
    b"\n",
    b"\r",
    "\u{2028}".as_bytes(),
    "\u{feff}".as_bytes(),
    b"export ",
];

fn value(dice: &mut Dice) -> Vec<u8> {
    match dice.roll(8) {
        0 => Vec::new(),
        1 | 2 => dice.some(PARTS, 5),
        3 => dice.some(SIGNS, 10),
        _ => {
            let open = dice.one(QUOTES);
            let mut value = open.to_vec();
            value.extend(dice.some(PARTS, 5));
            value.extend(if dice.roll(5) > 0 { open } else { dice.one(QUOTES) });
            value
        }
    }
}

fn line(dice: &mut Dice, file: &mut Vec<u8>) {
    file.extend(dice.some(SPACES, 3));
    match dice.roll(12) {
        0 => file.extend([b"#".to_vec(), dice.some(PARTS, 4)].concat()),
        1 => file.extend(dice.some(PARTS, 4)),
        2 => file.extend(dice.some(SIGNS, 12)),
        kind => {
            if kind == 3 {
                file.extend([b"export".to_vec(), dice.some(SPACES, 3)].concat());
            }
            file.extend(dice.one(KEYS));
            file.extend(dice.some(SPACES, 2));
            file.extend(dice.one(&[b"=", b"=", b"=", b"=", b": ", b":", b":\n", b"==", b" = "]));
            if dice.roll(3) == 0 {
                file.extend(dice.some(SPACES, 3));
            }
            file.extend(value(dice));
            if dice.roll(3) == 0 {
                file.extend(dice.some(SPACES, 3));
            }
            if dice.roll(4) == 0 {
                file.extend([b"#".to_vec(), dice.some(PARTS, 3)].concat());
            }
        }
    }
    file.extend(dice.one(ENDS));
}

fn file(dice: &mut Dice) -> Vec<u8> {
    let mut file = Vec::new();
    match dice.roll(20) {
        0 => file.extend(b"\xef\xbb\xbf"),
        1 => return dice.some(SIGNS, 40),
        _ => {}
    }
    for _ in 0..=dice.roll(5) {
        line(dice, &mut file);
    }
    file
}

/// The package's folder, for `require`.
fn package() -> PathBuf {
    let folder = std::env::var_os("SWRUN_NPM").expect(
        "SWRUN_NPM is not set: run tests/run, or npm install --prefix \"$SWRUN_NPM\" dotenv@16",
    );
    let package = Path::new(&folder).join("node_modules/dotenv");
    let about = std::fs::read_to_string(package.join("package.json")).unwrap_or_else(|error| {
        panic!("no dotenv in SWRUN_NPM ({error}): npm install --prefix \"$SWRUN_NPM\" dotenv@16")
    });
    let about: serde_json::Value = serde_json::from_str(&about).expect("package.json is JSON");
    let version = about["version"].as_str().expect("a package has a version");
    assert!(version.starts_with("16."), "dotenv {version} in SWRUN_NPM, 16 is wanted");
    package
}

/// What npm's `dotenv` reads from each of the files.
fn read_by_npm(package: &Path, files: &[Vec<u8>]) -> Vec<BTreeMap<String, String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dotenv_reference.js");
    let mut node = Command::new("node")
        .args([&script, package])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node (Debian package nodejs) is installed");
    let mut stdin = node.stdin.take().expect("it is piped");
    let mut input = Vec::new();
    for file in files {
        input.extend(u32::try_from(file.len()).expect("files are short").to_le_bytes());
        input.extend(file);
    }
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed: {}", output.status);
    writer.join().expect("the writer ends").expect("node reads everything");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let lists: Vec<Vec<(String, String)>> =
        text.lines().map(|line| serde_json::from_str(line).expect("a list of pairs")).collect();
    lists.into_iter().map(|list| list.into_iter().collect()).collect()
}

/// What differs, if anything does.
fn difference(file: &[u8], npm: &BTreeMap<String, String>) -> Option<String> {
    let ours: Result<Vec<(String, String)>, DotenvError> = parse(file);
    let has_nul = npm.values().any(|value| value.contains('\0'));
    let same = match &ours {
        Ok(ours) => {
            let map: BTreeMap<_, _> = ours.iter().cloned().collect();
            !has_nul && map.len() == ours.len() && map == *npm
        }
        Err(_) => has_nul,
    };
    (!same).then(|| format!("{:?}\n npm  {npm:?}\n here {ours:?}", String::from_utf8_lossy(file)))
}

#[test]
fn the_values_are_those_that_npm_dotenv_reads() {
    let package = package();
    let seed = match std::env::var("SWRUN_SEED") {
        Ok(seed) => seed.parse().expect("SWRUN_SEED is a number"),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock is past 1970")
            .subsec_nanos()
            .into(),
    };
    println!("SWRUN_SEED={seed}");
    let mut dice = Dice(seed);
    let mut differences = Vec::new();
    let (mut values, mut multi_line, mut empty) = (0, 0, 0);
    for _ in 0..FILES / BATCH {
        let files: Vec<Vec<u8>> = (0..BATCH).map(|_| file(&mut dice)).collect();
        let readings = read_by_npm(&package, &files);
        assert_eq!(readings.len(), files.len(), "one reading for each file");
        for (file, npm) in files.iter().zip(&readings) {
            differences.extend(difference(file, npm));
            values += npm.len();
            multi_line += npm.values().filter(|value| value.contains('\n')).count();
            empty += npm.values().filter(|value| value.is_empty()).count();
        }
    }
    println!("{FILES} files, {values} values, {multi_line} of several lines, {empty} empty");
    // Proof that the files are such as to say something.
    assert!(values > FILES && multi_line > FILES / 50 && empty > FILES / 50);
    let shown = differences.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "SWRUN_SEED={seed}: {} differ:\n{shown}", differences.len());
}
