//! Whether something that bears a run's process id was left by a run that is over.

use std::path::Path;

/// True for `prefix-PID` and `prefix-PID-...` if no process has that id any more.
pub(crate) fn is_of_a_dead_run(name: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    let pid = rest.and_then(|rest| rest.split('-').next()).filter(|pid| pid.parse::<u32>().is_ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}
