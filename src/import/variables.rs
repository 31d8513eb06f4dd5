//! The variables of an app: what came from a shell, and what is a secret.

/// Variables that a login, a terminal or a package manager sets, and PM2 itself: no app's own. A `*` at the end
/// stands for any rest.
const OF_SHELLS: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "MAIL",
    "TERM*",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LS_COLORS",
    "LS_OPTIONS",
    "LESS*",
    "PAGER",
    "MANPATH",
    "INFOPATH",
    "EDITOR",
    "VISUAL",
    "HOSTNAME",
    "HOSTTYPE",
    "MACHTYPE",
    "OSTYPE",
    "HIST*",
    "PS1",
    "PROMPT_COMMAND",
    "BASH*",
    "ZSH*",
    "ZDOTDIR",
    "SSH_*",
    "GPG_*",
    "XDG_*",
    "DBUS_*",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "WINDOWID",
    "DESKTOP_SESSION",
    "XAUTHORITY",
    "SUDO_*",
    "TMUX*",
    "STY",
    "WINDOW",
    "VSCODE_*",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_*",
    "NOTIFY_SOCKET",
    "LISTEN_*",
    "MANAGERPID",
    "DEBIAN_FRONTEND",
    "DEBUGINFOD_URLS",
    "WSL*",
    "WSLENV",
    "NAME",
    "NVM_*",
    "NPM_*",
    "npm_*",
    "INIT_CWD",
    "COLOR",
    "NODE",
    "YARN_*",
    "BERRY_*",
    "VOLTA_*",
    "FNM_*",
    "N_PREFIX",
    "PYENV_*",
    "RBENV_*",
    "CARGO_HOME",
    "RUSTUP_*",
    "GOPATH",
    "PM2_*",
    "pm2_*",
    "pm_*",
    "axm_*",
    "km_link",
    "unique_id",
    "vizion*",
    "NODE_APP_INSTANCE",
    "PM_*",
    "status",
    "created_at",
    "restart_time",
    "unstable_restarts",
    "exit_code",
    "prev_restart_delay",
    "instances",
    "exec_mode",
    "exec_interpreter",
    "node_version",
    "version",
    "versioning",
    "autorestart",
    "autostart",
    "namespace",
    "name",
    "args",
    "node_args",
    "env",
    "cwd",
    "watch",
    "filter_env",
    "windowsHide",
    "kill_retry_time",
    "treekill",
    "pmx",
    "automation",
    "instance_var",
    "merge_logs",
    "username",
    "max_memory_restart",
    "NODE_CHANNEL_*",
];

/// Parts of names behind which secrets stand.
const SECRET_PARTS: [&str; 14] = [
    "PASS",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "PRIVATE",
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "SIGNING",
    "COOKIE",
    "SALT",
    "DSN",
    "CONNECTION_STRING",
    "ENCRYPTION",
];

/// Whether a variable came from a shell, by its name.
pub fn is_of_shell(name: &str) -> bool {
    OF_SHELLS.iter().any(|known| match known.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == *known,
    })
}

/// Whether a value looks like a secret, by its name or by itself. One too many does no harm: it goes into a file of
/// the app's user instead of a profile that all may read.
pub fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    if value.is_empty() {
        return false;
    }
    name == "KEY"
        || name.ends_with("_KEY")
        || name.ends_with("_PWD")
        || SECRET_PARTS.iter().any(|part| name.contains(part))
        || has_password(value)
        || value.contains("-----BEGIN ")
        || is_random(value)
}

/// `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// As long, and as mixed, as what nobody types.
fn is_random(value: &str) -> bool {
    let is_of_one = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-.".contains(&byte);
    let has = |kind: fn(&u8) -> bool| value.as_bytes().iter().any(kind);
    let is_path = value.starts_with('/') || value.starts_with('.');
    value.len() >= 24
        && !is_path
        && value.bytes().all(is_of_one)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && !value.contains("--")
        && value.split(['.', '/']).all(|part| part.is_empty() || part.len() > 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_by_value() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("JWT_SECRET", "x"),
            ("STRIPE_KEY", "x"),
            ("DATABASE_URL", "postgresql://user:password@localhost/seawolf_test"),
            ("CERT", "-----BEGIN PRIVATE KEY-----\nx"),
            ("GITHUB", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
            ("db_pwd", "x"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("NODE_ENV", "production"),
            ("PORT", "3000"),
            ("API_URL", "https://api.example.org/v1"),
            ("REDIS", "redis://localhost:6379/0"),
            ("UPLOADS", "/srv/shop/uploads/2024-images-of-users"),
            ("SECRET", ""),
            ("HOSTS", "a.example.org"),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }

    #[test]
    fn what_a_shell_sets_is_known() {
        for name in ["PATH", "LC_ALL", "SSH_CLIENT", "npm_config_cache", "PM2_HOME", "unique_id"] {
            assert!(is_of_shell(name), "{name}");
        }
        for name in ["NODE_ENV", "PORT", "DATABASE_URL", "PATHS", "API_HOME", "NODE_OPTIONS"] {
            assert!(!is_of_shell(name), "{name}");
        }
    }
}
