//! Gives space back: deletes segments that hold no live entry. Runs on the writer's thread, between write groups.

use super::writer::Writer;

impl Writer {
    pub(super) fn has_housework(&self) -> bool {
        false
    }

    pub(super) fn do_housework(&mut self) {}

    pub(super) fn find_dead_segments(&mut self) {
        let active = self.position.active.number;
        self.to_drop =
            self.live.iter().filter(|(n, live)| **n != active && **live == 0).map(|(n, _)| *n).collect();
    }

    /// Deletes a segment whose end the journal has recorded.
    pub(super) fn dropped(&mut self, number: u32) {
        self.live.remove(&number);
        let Some(segment) = self.shared.segments.remove(number) else { return };
        if let Err(error) = self.disk.remove(&segment.path) {
            // Recovery tries again.
            tracing::warn!(file = %segment.path.display(), %error, "delete a segment");
        }
    }
}
