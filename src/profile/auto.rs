//! Numbers for `user = "auto"`: a uid of its own for each environment, without an entry anywhere.

use std::collections::{BTreeMap, BTreeSet};

use super::text::digest;
use crate::model::EnvName;

/// Given to nobody by useradd(8), systemd (its own documentation of uids and gids) or container
/// tools: between the system's users and systemd's dynamic ones.
const FIRST: u32 = 60_706;
const LAST: u32 = 61_183;

/// Gives each name a number that is in nobody's hands, keeping those of `given`; a name that is left
/// out found none. The same names get the same numbers wherever no two of them collide, so that
/// `check` and the runner agree; what the runner once gave it must keep in its state.
#[must_use]
pub fn assign_auto_uids(
    names: &BTreeSet<EnvName>,
    given: &BTreeMap<EnvName, u32>,
    is_taken: impl Fn(u32) -> bool,
) -> BTreeMap<EnvName, u32> {
    let mut uids = given.clone();
    for name in names {
        if uids.contains_key(name) {
            continue;
        }
        let used: BTreeSet<u32> = uids.values().copied().collect();
        let count = LAST - FIRST + 1;
        let first = u64::from_str_radix(&digest(name.as_str()), 16).unwrap_or(0) % u64::from(count);
        let first = u32::try_from(first).unwrap_or(0);
        let mut free = (0..count).map(|step| FIRST + (first + step) % count);
        if let Some(uid) = free.find(|uid| !used.contains(uid) && !is_taken(*uid)) {
            uids.insert(name.clone(), uid);
        }
    }
    uids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_free_distinct_and_kept() {
        let names: BTreeSet<_> =
            (0..478).map(|n| EnvName::parse(&format!("env-{n}")).expect("a name")).collect();
        let one = BTreeSet::from([EnvName::parse("env-7").expect("a name")]);
        let given = assign_auto_uids(&one, &BTreeMap::new(), |_| false);
        let all = assign_auto_uids(&names, &given, |uid| uid == 61_000);
        assert!(given.iter().all(|(name, uid)| all.get(name) == Some(uid)));
        let distinct: BTreeSet<_> = all.values().collect();
        assert_eq!((all.len(), distinct.len()), (477, 477), "one of 478 is taken");
        assert!(!distinct.contains(&61_000));
        assert!(distinct.iter().all(|uid| (FIRST..=LAST).contains(*uid)));
    }
}
