//! However lines are spread over files, packed or not: the last ones are found.

use proptest::prelude::*;

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::super::log_line::{Piece, write_line};
use super::super::{log_pack, log_store};
use super::*;

fn file_with(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    file
}

fn log_with(bytes: &[u8]) -> Log {
    Log::new(Some((file_with(bytes), bytes.len() as u64)), Vec::new())
}

fn entries_of(mut chain: LogChain) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(entry) = chain.next_entry().expect("readable") {
        entries.push(entry);
    }
    entries.extend(std::iter::from_fn(|| chain.take_rest()));
    entries
}

fn entries_from(log: &Log, place: Option<Place>) -> Vec<Entry> {
    let (Some(place), Some((file, _))) = (place, &log.current) else { return Vec::new() };
    assert_eq!(place.back, 0);
    let file = file.try_clone().expect("cloned");
    let links = vec![Link::Reader(LogReader::new(file, place.offset, u64::MAX))];
    entries_of(LogChain::new(links).expect("readable").expect("there"))
}

const BEGIN: Option<Place> = Some(Place { back: 0, offset: 0 });

proptest! {
    #[test]
    fn the_last_lines_are_those_of_a_naive_reader(
        text in "(?-u:[ab\n]){0,200}",
        block in 1_usize..40,
        count in 0_usize..30,
    ) {
        let log = log_with(text.as_bytes());
        let found = find_last_in_blocks(&[log], count, block, |_| Verdict::Counts);
        let found = found.expect("readable")[0];
        let from = found.map_or(text.len(), |place| usize::try_from(place.offset).expect("small"));
        let lines: Vec<&str> = text.lines().collect();
        let naive = &lines[lines.len().saturating_sub(count)..];
        prop_assert_eq!(text[from..].lines().collect::<Vec<_>>(), naive);
    }

    #[test]
    fn the_last_entries_of_two_files_are_the_latest(
        lines in proptest::collection::vec((0..2_usize, 0..3_u8, 1..3_u32), 0..40),
        block in 1_usize..100,
        count in 0_usize..20,
    ) {
        let mut files = [Vec::new(), Vec::new()];
        for (at, (which, piece, instance)) in (0..).zip(&lines) {
            let piece = [Piece::Whole, Piece::GoesOn, Piece::CutShort][usize::from(*piece)];
            write_line(&mut files[*which], at, *instance, piece, b"text");
        }
        let logs = files.each_ref().map(|bytes| log_with(bytes));
        let found =
            find_last_in_blocks(&logs, count, block, |_| Verdict::Counts).expect("readable");
        // Naive: all entries of both read forwards; an entry counts by its first piece's time.
        let mut all: Vec<(usize, Entry)> = [0, 1]
            .into_iter()
            .flat_map(|i| entries_from(&logs[i], BEGIN).into_iter().map(move |e| (i, e)))
            .collect();
        all.sort_by_key(|(_, entry)| entry.at_millis);
        let expected = all.split_off(all.len().saturating_sub(count));
        for which in [0, 1] {
            let wanted: Vec<Entry> =
                expected.iter().filter(|(i, _)| *i == which).map(|(_, e)| e.clone()).collect();
            prop_assert_eq!(entries_from(&logs[which], found[which]), wanted);
        }
    }

    /// However the lines are spread over files, packed or not: they are one text.
    #[test]
    fn files_put_aside_are_one_log_with_the_one_that_is_written(
        lines in proptest::collection::vec((0..3_u8, 0..6_u8), 0..40),
        block in 1_usize..100,
        count in 0_usize..50,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        let (mut whole, mut part, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (piece, cut)) in (0..).zip(&lines) {
            let piece = [Piece::Whole, Piece::GoesOn, Piece::CutShort][usize::from(*piece)];
            write_line(&mut part, at, 1, piece, format!("line {at}").as_bytes());
            if *cut < 2 {
                whole.extend_from_slice(&part);
                files.push((std::mem::take(&mut part), *cut == 1));
            }
        }
        whole.extend_from_slice(&part);
        for (at, (text, is_packed)) in (1..).zip(&files) {
            let aside = log_store::aside(&path, at);
            if *is_packed {
                let mut packed = Vec::new();
                log_pack::pack(&text[..], &mut packed).expect("in memory");
                fs::write(format!("{}.gz", aside.display()), packed).expect("written");
            } else {
                fs::write(aside, text).expect("written");
            }
        }
        let older = older(&path).expect("readable");
        prop_assert_eq!(older.len(), files.len());
        let logs = [Log::new(Some((file_with(&part), part.len() as u64)), older)];
        let found =
            find_last_in_blocks(&logs, count, block, |_| Verdict::Counts).expect("readable")[0];
        let texts = |entries: Vec<Entry>| -> Vec<Vec<u8>> {
            entries.into_iter().map(|entry| entry.text).collect()
        };
        let mut all = texts(entries_from(&log_with(&whole), BEGIN));
        let expected = all.split_off(all.len().saturating_sub(count));
        let mut links = Vec::new();
        if let Some(place) = found {
            let [log] = &logs;
            let mut from = place.offset;
            for older in log.older.iter().rev().take(place.back).rev() {
                let body = Body::open(older).expect("readable").expect("there");
                links.push(Link::Reader(LogReader::new(body, std::mem::take(&mut from), u64::MAX)));
            }
            links.push(Link::Reader(LogReader::new(file_with(&part), from, u64::MAX)));
        }
        let read = LogChain::new(links).expect("readable").map_or_else(Vec::new, entries_of);
        prop_assert_eq!(texts(read), expected);
    }
}

#[test]
fn a_judge_skips() {
    let mut bytes = Vec::new();
    for at in 0..100 {
        write_line(&mut bytes, at, 1, Piece::Whole, format!("line {at}").as_bytes());
    }
    let logs = [log_with(&bytes)];
    let found = find_last(&logs, 50, |entry| match entry.at_millis {
        Some(at) if at >= 90 && at % 2 == 0 => Verdict::Counts,
        _ => Verdict::Skip,
    })
    .expect("readable");
    assert_eq!(entries_from(&logs[0], found[0])[0].text, b"line 90");
}

#[test]
fn a_huge_line_is_bounded_and_a_file_that_shrinks_ends() {
    let bytes = vec![b'x'; 1 << 20];
    let log = log_with(&bytes);
    let mut lines = BackwardLines::new(&log, BLOCK);
    let mut total = 0;
    while let Some((_, line)) = lines.next_line().expect("readable") {
        assert!(line.len() <= LONGEST_LINE + BLOCK, "{}", line.len());
        total += line.len();
    }
    assert_eq!(total, bytes.len());
    let log = Log::new(log.current.map(|(file, _)| (file, 2 << 20)), Vec::new());
    let mut lines = BackwardLines::new(&log, BLOCK);
    assert_eq!(lines.next_line().expect("no error"), None);
}
