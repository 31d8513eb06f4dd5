//! The groups of operators and of watchers on this host.

/// Its members may look at environments, start and stop them, and read their logs.
pub const OPERATORS: &str = "swrun";

/// Its members may look at environments and read their logs: the group of the page's user (`swrun web`).
pub const WATCHERS: &str = "swrun-web";

/// The number of a group, if the host has it. Looked up in `/etc/group` alone, where the package makes it: a name
/// service would put its libraries into every monitor, and its outages too.
#[must_use]
pub fn number(group: &str) -> Option<u32> {
    number_in(&std::fs::read_to_string("/etc/group").ok()?, group)
}

/// The number of [`OPERATORS`].
#[must_use]
pub fn operators() -> Option<u32> {
    number(OPERATORS)
}

/// group(5): `name:password:number:members`.
fn number_in(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(group);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::number_in;

    #[test]
    fn the_number_of_the_group_of_that_name_is_found() {
        let before = "root:x:0:\nswrunner:x:4:\nadm:x:5:swrun\n";
        assert_eq!(number_in(before, "swrun"), None);
        assert_eq!(number_in(&format!("{before}swrun:x:991:alice,bob\n"), "swrun"), Some(991));
        assert_eq!(number_in("swrun:x::\n", "swrun"), None);
    }
}
