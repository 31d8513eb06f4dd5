//! The variables of an app: clean defaults, then `.env`, then `[env]`; nothing of swrun's own.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;

use crate::model::{DEFAULT_PATH, EnvSpec, OWN_VARIABLES, Ready};

/// All variables as `KEY=value`. `[env]` wins over the `.env` file, as it does today; who and where
/// the app is always comes from the spec.
#[must_use]
pub fn of(
    spec: &EnvSpec,
    (instance, place): (u32, u32),
    file: Vec<(String, String)>,
) -> Vec<CString> {
    let home = spec.identity.home.to_string_lossy();
    let user = spec.identity.user.as_str();
    let mut variables: BTreeMap<String, String> = [("PATH", DEFAULT_PATH), ("LANG", "C.UTF-8")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    variables.extend(file);
    variables.extend(spec.env.clone());
    // An app may count otherwise.
    variables.entry(spec.instance_var.clone()).or_insert_with(|| place.to_string());
    // systemd's descriptors are not the app's either: nothing here may claim so.
    for key in OWN_VARIABLES {
        variables.remove(key);
    }
    let own = [
        ("HOME", &*home),
        ("USER", user),
        ("LOGNAME", user),
        ("SWRUN_ENV", spec.name.as_str()),
        ("SWRUN_INSTANCE", &instance.to_string()),
    ];
    variables.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let channel = match spec.ready {
        Ready::Ports | Ready::Health => None,
        Ready::Message => Some(("NODE_CHANNEL_FD", super::ready::DESCRIPTOR)),
        Ready::Notify => Some(("NOTIFY_SOCKET", super::ready::SOCKET)),
    };
    variables.extend(channel.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // Keys and values are checked for NUL and `=` where they are read.
    variables
        .into_iter()
        .filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec_for_tests;

    fn value(variables: &[CString], key: &str) -> Option<String> {
        let prefix = format!("{key}=");
        variables.iter().find_map(|v| v.to_str().ok()?.strip_prefix(&prefix).map(str::to_owned))
    }

    #[test]
    fn the_profile_wins_over_the_file_and_the_spec_over_both() {
        let mut spec = spec_for_tests("shop");
        spec.env.insert("NODE_ENV".into(), "production".into());
        spec.env.insert("USER".into(), "root".into());
        let file = [
            ("NODE_ENV", "test"),
            ("PORT", "3000"),
            ("HOME", "/etc"),
            ("NOTIFY_SOCKET", "/x"),
            ("PATH", "/opt"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let variables = of(&spec, (3, 0), file.into());
        let of = |key| value(&variables, key);
        assert_eq!(of("NODE_ENV").as_deref(), Some("production"));
        assert_eq!(of("PORT").as_deref(), Some("3000"));
        assert_eq!(of("PATH").as_deref(), Some("/opt"));
        assert_eq!(of("USER").as_deref(), Some(spec.identity.user.as_str()));
        assert_eq!(of("HOME").as_deref(), spec.identity.home.to_str());
        assert_eq!(of("SWRUN_INSTANCE").as_deref(), Some("3"));
        assert_eq!(of("NOTIFY_SOCKET"), None);
        assert_eq!(of("NODE_APP_INSTANCE").as_deref(), Some("0"));
        spec.ready = Ready::Message;
        spec.instance_var = "WORKER".to_owned();
        let variables = super::of(&spec, (3, 1), vec![("NODE_CHANNEL_FD".into(), "9".into())]);
        assert_eq!(value(&variables, "NODE_CHANNEL_FD").as_deref(), Some("3"));
        assert_eq!(value(&variables, "WORKER").as_deref(), Some("1"));
    }
}
