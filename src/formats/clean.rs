//! Text of an app made safe for a terminal: what an app writes is hostile, and an escape sequence in
//! a log line can retitle a window, hide lines or answer on the operator's keyboard.
//!
//! Nothing is removed and no sequence is parsed (an unterminated one would swallow what follows):
//! each character that a terminal may act on is written as an escape of plain ASCII.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal or a person could be misled by this character: C0, DEL and C1 controls (tab
/// excepted), marks that reorder or hide text (Unicode UAX 9, "Trojan Source"), line separators.
fn is_unsafe(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{061c}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

/// Appends `bytes` to `out`: unsafe characters as `\x1b` or `\u{202e}`, bytes that are not UTF-8 as
/// `\xff`, tabs and all else as they are.
pub fn clean_into(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if !is_unsafe(character) {
                out.push(character);
            } else if character.is_ascii() {
                let _ = write!(out, "\\x{:02x}", u32::from(character));
            } else {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// The same, but for sequences that choose colours and weight (ECMA-48, SGR: `ESC [ … m`); after them the
/// terminal is set back to its own.
pub fn clean_keeping_colours(bytes: &[u8], out: &mut String) {
    let (mut rest, mut is_coloured) = (bytes, false);
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\x1b[") {
        let (before, sequence) = rest.split_at(at);
        clean_into(before, out);
        let length = sequence[2..].iter().position(|byte| !b"0123456789;:".contains(byte));
        match length {
            // A terminal takes a few of them.
            Some(length @ ..=32) if sequence[2 + length] == b'm' => {
                out.push_str(&String::from_utf8_lossy(&sequence[..length + 3]));
                (rest, is_coloured) = (&sequence[length + 3..], true);
            }
            _ => {
                clean_into(&sequence[..2], out);
                rest = &sequence[2..];
            }
        }
    }
    clean_into(rest, out);
    if is_coloured {
        out.push_str("\x1b[0m");
    }
}

/// `text`, safe to show; borrowed where there is nothing to do, which is nearly always.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    clean_into(text.as_bytes(), &mut out);
    Cow::Owned(out)
}

/// A JSON document with the same meaning and no character that a terminal may act on: JSON escapes C0
/// controls itself, but not DEL, C1 and bidi marks. Such characters can stand only within its strings.
#[must_use]
pub fn clean_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |character: char| is_unsafe(character) && character != '\n';
    if !json.chars().any(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_escaped(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(bytes: &[u8]) -> String {
        let mut out = String::new();
        clean_into(bytes, &mut out);
        out
    }

    #[test]
    fn what_a_terminal_acts_on_is_shown_as_ascii() {
        assert_eq!(cleaned(b"\x1b]0;owned\x07 \x7f\r\n"), "\\x1b]0;owned\\x07 \\x7f\\x0d\\x0a");
        assert_eq!(
            cleaned("a\u{202e}b\u{9b}c\u{e0041}".as_bytes()),
            "a\\u{202e}b\\u{9b}c\\u{e0041}"
        );
        assert_eq!(cleaned(b"\xff\xc3"), "\\xff\\xc3");
    }

    #[test]
    fn plain_text_stays() {
        let plain = "caf\u{e9}\t\u{2603} \u{1f468}\u{200d}\u{1f469} \\x1b";
        assert_eq!(cleaned(plain.as_bytes()), plain);
        assert!(matches!(clean(plain), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "a\u{9b}\u{202e}\u{7f}\u{e0041}\n\u{1b}";
        let json = serde_json::to_string_pretty(&[text]).expect("a text is JSON");
        let safe = clean_json(&json);
        assert!(!safe.chars().any(|c| is_unsafe(c) && c != '\n'), "{safe:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).expect("still JSON"), [text]);
    }

    #[test]
    fn colours_of_an_app_are_let_through_and_nothing_else() {
        let coloured = |text: &str| {
            let mut out = String::new();
            clean_keeping_colours(text.as_bytes(), &mut out);
            out
        };
        assert_eq!(coloured("plain"), "plain");
        assert_eq!(coloured("\x1b[1;31mred\x1b[m x"), "\x1b[1;31mred\x1b[m x\x1b[0m");
        assert_eq!(coloured("\x1b[38:5:1mx"), "\x1b[38:5:1mx\x1b[0m");
        for bad in ["\x1b[2J", "\x1b[?25l", "\x1b]0;t\x07", "\x1b[31", "\x1b[", "\x1b[3\x1b[2Jm"] {
            assert!(!coloured(bad).contains('\x1b'), "{bad:?}");
        }
        let long = format!("\x1b[{}m", "1;".repeat(40));
        assert!(!coloured(&long).contains('\x1b'));
    }

    proptest! {
        #[test]
        fn nothing_unsafe_comes_out(bytes: Vec<u8>, text: String) {
            for input in [bytes.as_slice(), text.as_bytes()] {
                let out = cleaned(input);
                prop_assert!(!out.chars().any(|c| c.is_control() && c != '\t'), "{out:?}");
                prop_assert!(!out.chars().any(is_unsafe), "{out:?}");
                prop_assert_eq!(cleaned(out.as_bytes()), out.as_str());
            }
            let safe = clean(&text);
            prop_assert_eq!(safe.as_ref(), cleaned(text.as_bytes()));
        }
    }
}
