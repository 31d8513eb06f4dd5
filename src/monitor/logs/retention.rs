//! Which of the files that were put aside are kept.

use std::path::Path;

use crate::formats::log_store::{self, Older};
use crate::model::{LogRules, ROOM};

/// Removes what is too much: of each of `logs` more than `keep`, of all together more than `total_max`. Gives whether
/// there is one to be packed.
pub fn tidy(logs: [&Path; 2], rules: &LogRules) -> bool {
    // A folder that cannot be read now can be at the next file.
    let [Ok(out), Ok(err)] = logs.map(log_store::older) else { return false };
    for older in too_much(&out, &err, rules) {
        let _ = log_store::remove(older);
    }
    out.iter().chain(&err).any(|older| !older.is_packed)
}

fn too_much<'a>(out: &'a [Older], err: &'a [Older], rules: &LogRules) -> Vec<&'a Older> {
    let keep = rules.keep as usize;
    let mut removed = Vec::new();
    let mut kept: Vec<&Older> = Vec::new();
    for older in [out, err] {
        let (old, new) = older.split_at(older.len().saturating_sub(keep));
        removed.extend(old);
        kept.extend(new);
    }
    kept.sort_by_key(|older| older.at_millis);
    // Those that are written grow yet, and one that is packed is there twice meanwhile.
    let room = rules.total_max.saturating_sub(rules.rotate_size.saturating_mul(ROOM));
    let mut total: u64 = kept.iter().map(|older| older.bytes).sum();
    for older in kept {
        if total <= room {
            break;
        }
        total -= older.bytes;
        removed.push(older);
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packer_is_started_for_what_is_not_packed_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let [out, err] = ["out.log", "err.log"].map(|name| folder.path().join(name));
        let is_to_pack = || tidy([&out, &err], &LogRules::default());
        std::fs::write(&out, "now").expect("ours");
        assert!(!is_to_pack());
        let aside = log_store::aside(&err, 1);
        std::fs::write(&aside, "before").expect("ours");
        assert!(is_to_pack());
        let packed = crate::sys::files::with_suffix(&aside, log_store::PACKED);
        std::fs::write(&packed, "packed").expect("ours");
        assert!(is_to_pack(), "that packer did not come to its end");
        std::fs::remove_file(&aside).expect("ours");
        assert!(!is_to_pack());
    }

    fn older(times: std::ops::Range<u64>, bytes: u64) -> Vec<Older> {
        let one = |at_millis| Older { at_millis, path: "x".into(), is_packed: true, bytes };
        times.map(one).collect()
    }

    #[test]
    fn the_oldest_go_first_by_count_and_by_size() {
        let rules = LogRules { rotate_size: 10, keep: 3, total_max: 100, ..LogRules::default() };
        let times = |out: &[Older], err: &[Older], rules: &LogRules| -> Vec<u64> {
            too_much(out, err, rules).iter().map(|older| older.at_millis).collect()
        };
        let (out, err) = (older(0..5, 5), older(10..12, 5));
        assert_eq!(times(&out, &err, &rules), [0, 1]);
        // 70 are left beside those that are written: of 5 x 20 the two oldest have to go.
        let (out, err) = (older(2..5, 20), older(0..2, 20));
        assert_eq!(times(&out, &err, &rules), [0, 1]);
        let all = LogRules { keep: 0, ..rules };
        assert_eq!(times(&out, &err, &all), [2, 3, 4, 0, 1]);
    }
}
