//! Who decided on a recovery, as far as the machine knows.

use chronik_core::metadata::limits;

/// The user and the host, as `user@host`.
pub fn who(env: &dyn Fn(&str) -> Option<String>) -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| env(name).filter(|user| !user.is_empty()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "unknown" } else { host.trim() };
    let mut who = format!("{}@{host}", user.as_deref().unwrap_or("unknown"));
    // Cut where a character ends.
    let end = (0..=limits::LONG_TEXT.min(who.len())).rev().find(|at| who.is_char_boundary(*at));
    who.truncate(end.unwrap_or(0));
    who
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_became_root_is_named() {
        let env = |name: &str| Some(if name == "SUDO_USER" { "ada" } else { "root" }.to_owned());
        assert!(who(&env).starts_with("ada@"));
        assert!(who(&|_| None).starts_with("unknown@"));
        assert!(who(&|_| Some("é".repeat(200))).len() <= limits::LONG_TEXT);
    }
}
