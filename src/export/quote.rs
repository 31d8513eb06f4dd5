//! A text in the dialect of the place where it stands.

use std::fmt::Write as _;

/// A word of a command line of systemd's (systemd.service(5), "Command lines"): `%` and `$` mean themselves.
pub fn systemd_word(word: &str) -> String {
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '%' => text.push_str("%%"),
            '$' => text.push_str("$$"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            control if control.is_ascii_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:,@+".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => text,
    }
}

/// One of several paths in a setting of systemd's (`BindPaths=`): one with a space is one. Of marks it has no other
/// (`Source::check_paths`).
pub fn systemd_path(path: &str) -> String {
    if path.contains(char::is_whitespace) { format!("\"{path}\"") } else { path.to_owned() }
}

/// `KEY="value"` of a file of variables of systemd's (systemd.exec(5), `EnvironmentFile=`): within double quotes a
/// backslash counts before `"`, `\`, `` ` `` and `$`, and a line break is one.
pub fn systemd_variable(key: &str, value: &str) -> String {
    let mut text = format!("{key}=\"");
    for character in value.chars() {
        if "\"\\`$".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text + "\""
}

/// Whether systemd and Kubernetes take a variable of that name.
pub fn is_plain_variable(key: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    key.bytes().next().is_some_and(|byte| !byte.is_ascii_digit()) && key.bytes().all(is_word)
}

/// `KEY=value` of a file of variables of Podman's: as it stands, to the end of the line; `None` where that cannot be.
pub fn podman_variable(key: &str, value: &str) -> Option<String> {
    let is_one_line = !value.contains(['\n', '\r']) && value.trim() == value;
    (is_one_line && is_plain_variable(key)).then(|| format!("{key}={value}"))
}

/// A string of HCL 2: interpolation and directives mean themselves.
pub fn hcl(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted.replace("${", "$${").replace("%{", "%%{")
}

/// A list of them.
pub fn hcl_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| hcl(word)).collect();
    format!("[{}]", words.join(", "))
}

/// A value of JSON's as YAML, each text in double quotes: YAML reads JSON's strings as they are (YAML 1.2, section 1.3)
/// where what it does not take for printable (section 5.1), or for the end of a line in its first version, is escaped.
pub fn yaml(value: &serde_json::Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn block(value: &serde_json::Value, depth: usize, text: &mut String) {
    use serde_json::Value;
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = match is_plain_key(key) {
                    true => key.clone(),
                    false => Value::from(key.as_str()).to_string(),
                };
                let _ = write!(text, "{indent}{key}:");
                below(value, depth, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                let mut item = String::new();
                block(value, depth + 1, &mut item);
                let item = item.trim_start();
                let _ = write!(text, "{indent}- {item}");
                if !item.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

fn below(value: &serde_json::Value, depth: usize, text: &mut String) {
    let is_nested = value.as_object().is_some_and(|map| !map.is_empty())
        || value.as_array().is_some_and(|list| !list.is_empty());
    if is_nested {
        text.push('\n');
        block(value, depth + 1, text);
    } else {
        let _ = writeln!(text, " {value}");
    }
}

/// A key that is no number, truth value or null to any reader.
fn is_plain_key(key: &str) -> bool {
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !WORDS.contains(&key.to_ascii_lowercase().as_str())
        && !key.eq_ignore_ascii_case("null")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_dialect_has_its_own_marks() {
        assert_eq!(systemd_word("plain-word/1=2"), "plain-word/1=2");
        assert_eq!(systemd_word("a \"b\" $c %d\n\u{1}"), r#""a \"b\" $$c %%d\n\x01""#);
        assert_eq!(systemd_word(""), "\"\"");
        assert_eq!((systemd_path("/a b"), systemd_path("/a")), ("\"/a b\"".into(), "/a".into()));
        assert_eq!(podman_variable("#A", "a"), None);
        assert_eq!(systemd_variable("A", "a\"\\`$\nb'"), "A=\"a\\\"\\\\\\`\\$\nb'\"");
        assert_eq!(podman_variable("A", "a \"b\"").as_deref(), Some("A=a \"b\""));
        assert_eq!((podman_variable("A", "a\nb"), podman_variable("A", " a")), (None, None));
        assert_eq!(hcl("a\"\\\n${b} %{c}"), r#""a\"\\\n$${b} %%{c}""#);
        assert!(is_plain_variable("A_1") && !is_plain_variable("1A") && !is_plain_variable("a.b"));
    }

    #[test]
    fn yaml_keeps_every_shape() {
        let value = json!({"a": [{"b": 1, "c": ["x", []]}, {}], "yes": "no", "d e": null, "f": {"g": true}});
        let text = "a:\n  - b: 1\n    c:\n      - \"x\"\n      - []\n  - {}\n\"d e\": null\nf:\n  g: true\n\"yes\": \"no\"\n";
        assert_eq!(yaml(&value), text);
        assert_eq!(
            yaml(&json!({"a": "\u{85}\u{7f}\u{2028}é😀"})),
            "a: \"\\u0085\\u007f\\u2028é😀\"\n"
        );
    }
}
