//! Waits until a file holds text: for what Kubernetes knows of a pod only once it has a node.

use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What the file holds, without the space around it; none if it held nothing all that time, or is not there.
pub fn wait_for(file: &Path, patience: Duration) -> Option<String> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !text.trim().is_empty() {
            return Some(text.trim().to_owned());
        }
        let left = patience.checked_sub(began.elapsed())?;
        std::thread::sleep(LOOK.min(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_the_text_or_with_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rack");
        assert_eq!(wait_for(&file, Duration::from_millis(20)), None);
        std::fs::write(&file, " \n").unwrap();
        let late = file.clone();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            std::fs::write(late, "zone-a\n").unwrap();
        });
        assert_eq!(wait_for(&file, Duration::from_secs(20)).as_deref(), Some("zone-a"));
        writer.join().unwrap();
    }
}
