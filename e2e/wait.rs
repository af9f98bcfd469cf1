//! Waiting for a condition, with a limit and a reason when it never holds. Nothing here sleeps longer than one look.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value; says how long that took. Panics after `limit` with the last reason.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        match look() {
            Ok(value) => return (value, began.elapsed()),
            Err(reason) if began.elapsed() >= limit => panic!("{what}: not within {limit:?}: {reason}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// `Ok` if it holds, else a reason made from the text.
pub fn holds(condition: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(reason()) }
}
