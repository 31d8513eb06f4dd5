//! swrun-profile(5), made of the one list of keys.

use std::fmt::Write as _;

use super::schema::{KEYS, Key, SECTIONS};

const HEAD: &str = r#".TH SWRUN-PROFILE 5 "" swrun "File formats"
.SH NAME
swrun\-profile \- an environment of swrun
.SH SYNOPSIS
.I /etc/swrun/profiles/*.toml
.SH DESCRIPTION
Each file is one environment: what is run, for whom, within which limits. It is TOML. Files belong to root; one that others can write is refused, as is a key
that is not known. They are read at
.BR "swrun start" ,
.BR restart ,
.B reload
and when the runner gets a SIGHUP;
.B swrun check
tells all that is wrong with them, with line and column.
.PP
Sizes have the units K, M, G (of 1024), times ms, s, m, h, d.
.PP
/usr/share/doc/swrun/examples/prod.toml has every key, with its meaning.
"#;

const TAIL: &str = r#".SH SEE ALSO
.BR swrun\-check (1),
.BR swrun\-setup (1),
.BR swrun\-log (5),
.BR swrun\-history (5)
"#;

/// The page, as groff_man(7) has it.
#[must_use]
pub fn manual() -> String {
    let mut page = HEAD.to_owned();
    for section in std::iter::once("").chain(SECTIONS) {
        let keys: Vec<&Key> = KEYS.iter().filter(|key| key.section == section).collect();
        let title = match section {
            "" => "KEYS".to_owned(),
            section => format!("KEYS OF [{section}]"),
        };
        let _ = writeln!(page, ".SH {title}");
        if section == "env" {
            page.push_str(
                "Variables of the app, each a text. They win over those of its .env file.\n",
            );
        }
        for key in keys {
            let _ = writeln!(
                page,
                ".TP\n.B {}\n{}: {}.\n.br\nDefault: {}\n.br\nAs in: {} = {}",
                plain(key.name),
                capital(&plain(key.kind)),
                plain(key.meaning),
                plain(key.default),
                plain(key.name),
                plain(key.example),
            );
        }
    }
    page + TAIL
}

/// A text that is no request of troff's, and whose signs are what they are.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_key_with_its_default_and_an_example() {
        let page = manual();
        for key in &KEYS {
            let entry = format!(".B {}\n", plain(key.name));
            let at = page.find(&format!("KEYS OF [{}]", key.section)).unwrap_or(0);
            let rest = &page[at..];
            let begin = rest.find(&entry).unwrap_or_else(|| panic!("{key:?} is not in it"));
            let entry: Vec<&str> = rest[begin..].lines().take(6).collect();
            assert!(entry[1].ends_with(&format!("{}.", plain(key.meaning))), "{entry:?}");
            assert!(
                entry[3].starts_with("Default: ") && entry[5].starts_with("As in: "),
                "{entry:?}"
            );
        }
        // No line but ours is a request.
        let requests = [".TH", ".SH", ".TP", ".B ", ".BR", ".I ", ".PP", ".br"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(requests.iter().any(|request| line.starts_with(request.trim_end())), "{line}");
        }
    }
}
