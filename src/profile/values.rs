//! Reads single values: each a function of a TOML value, with what is wrong in the operator's words.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Component, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::file::UserChoice;
use super::problem::quoted;
use crate::model::{self, EnvName, Port, Protocol, RestartPolicy, StopSignal, Target};

/// Why a value is not what its key wants.
pub(super) enum Unfit {
    /// Of another kind; the reader says which kind is wanted, with the key's example.
    Kind,
    /// Of the right kind, and wrong.
    Value { text: String, hint: Option<String> },
}

impl Unfit {
    pub(super) fn hinted(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Value { text: text.into(), hint: Some(hint.into()) }
    }
}

impl From<String> for Unfit {
    fn from(text: String) -> Self {
        Self::Value { text, hint: None }
    }
}

type Fit<T> = Result<T, Unfit>;

pub(super) fn string(value: &DeValue<'_>) -> Fit<String> {
    let text = value.as_str().ok_or(Unfit::Kind)?;
    if text.contains('\0') {
        return Err("it has a NUL character in it, which no program can be given"
            .to_owned()
            .into());
    }
    Ok(text.to_owned())
}

pub(super) fn boolean(value: &DeValue<'_>) -> Fit<bool> {
    value.as_bool().ok_or(Unfit::Kind)
}

/// An integer of a range.
pub(super) fn integer(value: &DeValue<'_>, least: u64, most: u64) -> Fit<u64> {
    let number = value.as_integer().ok_or(Unfit::Kind)?;
    u64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            format!("{} is out of range: {least} to {most}", quoted(&number.to_string())).into()
        })
}

pub(super) fn integer32(value: &DeValue<'_>, least: u32, most: u32) -> Fit<u32> {
    let number = integer(value, least.into(), most.into())?;
    Ok(u32::try_from(number).unwrap_or(most))
}

pub(super) fn name(value: &DeValue<'_>) -> Fit<EnvName> {
    EnvName::parse(&string(value)?).map_err(|error| error.to_string().into())
}

/// A user: a name of the user database, a number, or `auto`.
pub(super) fn user(value: &DeValue<'_>) -> Fit<UserChoice> {
    // -1 is "leave it as it is" to setresuid(2), in 16 bits too.
    const NOBODY_AT_ALL: [u32; 2] = [u32::MAX, 0xffff];
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        other => string(other)?,
    };
    if text == "auto" {
        return Ok(UserChoice::Auto);
    }
    let root = || {
        Unfit::hinted(
            "an app never runs as root",
            "give it a user of its own, as in user = \"deploy-prod\" (swrun setup makes it)",
        )
    };
    if text == "root" {
        return Err(root());
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(0) => Err(root()),
            Ok(uid) if !NOBODY_AT_ALL.contains(&uid) => Ok(UserChoice::Number(uid)),
            _ => Err(format!("{} is no uid: 1 to {}", quoted(&text), u32::MAX - 1).into()),
        };
    }
    let is_plain = |c: char| c.is_alphanumeric() || "_.-@\\$".contains(c);
    if text.is_empty() || text.starts_with('-') || text.len() > 255 || !text.chars().all(is_plain) {
        return Err(format!("{} is not the name of a user", quoted(&text)).into());
    }
    Ok(UserChoice::Named(text))
}

/// A path without `..`: what is written is what is meant, whatever the links on the way.
pub(super) fn path(value: &DeValue<'_>) -> Fit<PathBuf> {
    let text = string(value)?;
    let path = PathBuf::from(&text);
    if text.is_empty() {
        return Err("the path is empty".to_owned().into());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        let hint = "write the path as it is without it";
        return Err(Unfit::hinted(format!("{} has \"..\" in it", quoted(&text)), hint));
    }
    Ok(path.components().collect())
}

pub(super) fn absolute_path(value: &DeValue<'_>) -> Fit<PathBuf> {
    let path = path(value)?;
    if path.is_relative() {
        let shown = quoted(&path.to_string_lossy());
        return Err(format!("{shown} is relative: write it from \"/\" on").into());
    }
    Ok(path)
}

pub(super) fn path_in_base(value: &DeValue<'_>) -> Fit<PathBuf> {
    let path = path(value)?;
    if path.is_absolute() {
        return Err(Unfit::hinted(
            format!("{} is absolute, and may not leave \"base\"", quoted(&path.to_string_lossy())),
            "write it as it is below base, as in env-file = \"backend/.env\"",
        ));
    }
    Ok(path)
}

/// `3002`, `"3002"`, `"3002/tcp"` or `"3002/udp"`.
pub(super) fn port(value: &DeValue<'_>) -> Fit<Port> {
    let shown = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        other => string(other)?,
    };
    let (number, proto) = match shown.split_once('/') {
        None => (shown.as_str(), Protocol::Tcp),
        Some((number, "tcp")) => (number, Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some(_) => ("", Protocol::Tcp),
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse() {
        Ok(port @ 1..) if is_number => Ok(Port { port, proto }),
        _ => Err(Unfit::hinted(
            format!("{} is not a port", quoted(&shown)),
            "write 3002 for tcp, \"3002/udp\" for udp; 1 to 65535",
        )),
    }
}

/// The place of a word among `words`.
pub(super) fn one_of<const N: usize>(value: &DeValue<'_>, words: [&str; N]) -> Fit<usize> {
    let word = string(value)?;
    words.iter().position(|known| *known == word).ok_or_else(|| {
        let known: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        Unfit::hinted(
            format!("{} is not known here", quoted(&word)),
            format!("it is {}", known.join(" or ")),
        )
    })
}

/// A place to connect to: `localhost:5432`, `10.0.0.0/8:443`, `[2001:db8::1]:53`, `*:443`.
pub(super) fn target(value: &DeValue<'_>) -> Fit<Target> {
    let text = string(value)?;
    let unfit = || {
        Unfit::hinted(
            format!("{} is no place to connect to", quoted(&text)),
            "as in \"localhost:5432\", \"10.0.0.0/8:443\", \"[2001:db8::1]:53\" or \"*:443\"",
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(unfit)?;
    let port = match port {
        "*" => 0,
        port => port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(unfit)?,
    };
    if host == "*" {
        return Ok(Target { host: None, prefix: None, port });
    }
    let is_bracketed = host.starts_with('[');
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(unfit)?,
        None => host,
    };
    let (host, prefix) = match host.split_once('/') {
        Some((host, prefix)) => (host, Some(prefix.parse::<u8>().map_err(|_| unfit())?)),
        None => (host, None),
    };
    let address = host.parse::<IpAddr>();
    let is_fit = match address {
        Ok(IpAddr::V4(_)) => !is_bracketed && prefix.is_none_or(|prefix| prefix <= 32),
        Ok(IpAddr::V6(_)) => is_bracketed && prefix.is_none_or(|prefix| prefix <= 128),
        // A name (RFC 1123).
        Err(_) => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            prefix.is_none() && !is_bracketed && !host.is_empty() && host.bytes().all(is_plain)
        }
    };
    if is_fit { Ok(Target { host: Some(host.to_owned()), prefix, port }) } else { Err(unfit()) }
}

/// The name of a system call (syscalls(2)).
pub(super) fn system_call(value: &DeValue<'_>) -> Fit<String> {
    let name = string(value)?;
    match name.parse::<syscalls::Sysno>() {
        Ok(_) => Ok(name),
        Err(_) => Err(Unfit::hinted(
            format!("{} is no system call of Linux on this kind of machine", quoted(&name)),
            "as in allow-syscalls = [\"ptrace\"]; swrun show names those that were refused",
        )),
    }
}

/// A size of at least one MiB: below, not even a static program starts.
pub(super) fn size(value: &DeValue<'_>) -> Fit<u64> {
    let text = match value {
        // A bare number is the usual slip; its hint is better than "is an integer".
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        other => string(other)?,
    };
    match model::parse_bytes(&text)? {
        bytes if bytes < 1 << 20 => {
            Err(format!("{} is too little to start anything: at least \"1M\"", quoted(&text))
                .into())
        }
        bytes => Ok(bytes),
    }
}

pub(super) fn duration(value: &DeValue<'_>) -> Fit<Duration> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        other => string(other)?,
    };
    Ok(model::parse_duration(&text)?)
}

/// `"150%"`: percent of one CPU.
pub(super) fn cpu(value: &DeValue<'_>) -> Fit<u32> {
    const MOST: u32 = 100_000;
    let text = match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        other => string(other)?,
    };
    let number = text.strip_suffix('%').filter(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|number| number.parse().ok()) {
        Some(percent @ 1..=MOST) => Ok(percent),
        _ => Err(Unfit::hinted(
            format!("{} is not a share of a CPU", quoted(&text)),
            format!("write whole percent of one CPU, as in cpu = \"150%\"; 1% to {MOST}%"),
        )),
    }
}

pub(super) fn policy(value: &DeValue<'_>) -> Fit<RestartPolicy> {
    match string(value)?.as_str() {
        "always" => Ok(RestartPolicy::Always),
        "on-failure" => Ok(RestartPolicy::OnFailure),
        "never" => Ok(RestartPolicy::Never),
        other => Err(Unfit::hinted(
            format!("{} is not a restart policy", quoted(other)),
            "write \"always\", \"on-failure\" or \"never\"",
        )),
    }
}

/// A line of a crontab.
pub(super) fn cron(value: &DeValue<'_>) -> Fit<String> {
    let line = string(value)?;
    crate::formats::cron::check(&line).map_err(|why| {
        Unfit::hinted(
            format!("{} is no line of a crontab: {}", quoted(&line), why.replace('\n', " ")),
            "five fields, as in cron = \"0 3 * * *\" (every night at three)",
        )
    })?;
    Ok(line)
}

/// The pause after a change.
pub(super) fn watch_delay(value: &DeValue<'_>) -> Fit<Duration> {
    let delay = duration(value)?;
    if (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&delay) {
        return Ok(delay);
    }
    Err(Unfit::hinted("it is too short, or too long".to_owned(), "from \"50ms\" to \"1m\""))
}

/// The name of a variable, as a shell takes it.
pub(super) fn variable(value: &DeValue<'_>) -> Fit<String> {
    let name = string(value)?;
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_name = name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit());
    if is_name {
        return Ok(name);
    }
    let text = format!("{} is no name of a variable", quoted(&name));
    Err(Unfit::hinted(text, "letters, digits and \"_\", as in \"NODE_APP_INSTANCE\""))
}

pub(super) fn signal(value: &DeValue<'_>) -> Fit<StopSignal> {
    Ok(StopSignal::try_from(string(value)?)?)
}

/// An `http://` address whose host is a loopback address: the monitor asks no resolver, and is not
/// to be sent to other machines.
pub(super) fn health_address(value: &DeValue<'_>) -> Fit<String> {
    let text = string(value)?;
    let unfit = |why: &str| {
        let hint = "write an address of this machine, as in \"http://127.0.0.1:3002/healthz\"";
        Unfit::hinted(format!("{} {why}", quoted(&text)), hint)
    };
    let rest = text.strip_prefix("http://").ok_or_else(|| unfit("does not begin with http://"))?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unfit("has characters that do not belong into an address"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or_else(|| unfit("lacks a \"]\""))?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let host: IpAddr = if authority.starts_with('[') {
        IpAddr::V6(host.parse::<Ipv6Addr>().map_err(|_| unfit("has no address in its brackets"))?)
    } else {
        IpAddr::V4(
            host.parse().map_err(|_| unfit("names its host, which no resolver is asked for"))?,
        )
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => Some(80),
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
    };
    match port {
        None | Some(0_u16) => Err(unfit("has no valid port")),
        Some(_) if !host.is_loopback() => Err(unfit("is not on this machine")),
        Some(_) => Ok(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_for_health() {
        let read = |text: &str| health_address(&DeValue::String(text.into())).is_ok();
        for good in [
            "http://127.0.0.1:3002/healthz",
            "http://127.0.0.2",
            "http://[::1]:80/",
            "http://127.0.0.1?x",
        ] {
            assert!(read(good), "{good}");
        }
        for bad in [
            "",
            "https://127.0.0.1/",
            "http://",
            "http://10.0.0.1/",
            "http://localhost/",
            "http://127.0.0.1@10.0.0.1/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1:70000/",
            "http://[::1",
            "http://[::2]/",
            "http://[::1]x/",
            "http://127.0.0.1/\r\nHost: x",
            "http://127.0.0.1/ x",
        ] {
            assert!(!read(bad), "{bad}");
        }
    }

    #[test]
    fn users_are_names_numbers_or_auto() {
        let read = |text: &str| user(&DeValue::String(text.to_owned().into())).ok();
        assert_eq!(read("deploy-prod"), Some(UserChoice::Named("deploy-prod".to_owned())));
        assert_eq!(read("61001"), Some(UserChoice::Number(61001)));
        assert_eq!(read("auto"), Some(UserChoice::Auto));
        for bad in
            ["", "root", "0", "000", "4294967295", "65535", "-x", "a b", "a:b", "a/b", "a\nb"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_of_a_cpu_are_whole_percent() {
        let read = |text: &str| cpu(&DeValue::String(text.to_owned().into())).ok();
        assert_eq!([read("150%"), read("1%")], [Some(150), Some(1)]);
        for bad in ["", "%", "0%", "150", "1.5%", "-1%", "+1%", "99999999999%"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
