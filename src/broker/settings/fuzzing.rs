//! What the fuzzer feeds to the settings: a file's text.

use super::Settings;
use super::sources::Sources;

/// Settings from a file's text. What is accepted holds together.
pub fn file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let settings = match Sources::of_text(text).and_then(|sources| Settings::build(&sources)) {
        Ok(settings) => settings,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (clients, raft) = (&settings.clients, &settings.raft);
    assert!(raft.heartbeat_ticks() >= 1 && raft.election_ticks() >= 3 * raft.heartbeat_ticks());
    assert!(clients.max_request_memory_bytes >= u64::from(clients.max_request_bytes));
    assert!(clients.max_request_bytes >= settings.max_message_bytes);
    assert!(!settings.listeners.is_empty());
}
