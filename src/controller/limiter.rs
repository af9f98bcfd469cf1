//! A cap on how often something is done: so many per second, with a burst of one second's worth.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Hands out turns, evenly spaced once the burst is used up.
pub struct Limiter {
    interval: Duration,
    burst: Duration,
    next: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `per_second` turns each second, at least one.
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: Duration::from_secs(1) - interval, next: Mutex::new(None) }
    }

    /// Waits for a turn and says how long that took.
    pub async fn turn(&self) -> Duration {
        let now = Instant::now();
        let at = self.reserve(now);
        tokio::time::sleep_until(at).await;
        at.saturating_duration_since(now)
    }

    /// Takes a turn if there is one now.
    pub fn try_turn(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock();
        let at = next.unwrap_or(now);
        if at > now + self.burst {
            return false;
        }
        *next = Some(at.max(now) + self.interval);
        true
    }

    /// Takes the next turn, and says when that is.
    pub fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock();
        let at = next.unwrap_or(now).max(now);
        *next = Some(at + self.interval);
        at.checked_sub(self.burst).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_is_spaced() {
        let limiter = Limiter::new(10);
        let start = Instant::now();
        for _ in 0..10 {
            limiter.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            limiter.turn().await;
        }
        let spent = start.elapsed().as_millis();
        assert!((1_900..=2_100).contains(&spent), "{spent}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_turn_left_nothing_waits() {
        let limiter = Limiter::new(2);
        assert_eq!((0..5).filter(|_| limiter.try_turn()).count(), 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((0..5).filter(|_| limiter.try_turn()).count(), 2);
    }
}
