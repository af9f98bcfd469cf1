//! Objects that should be looked at again: a set, so it never holds more than there are objects.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Marks from many, taken by one stream.
pub struct Dirty<K> {
    marked: Mutex<Marked<K>>,
    wake: Notify,
}

/// In the order in which they were marked.
struct Marked<K> {
    order: VecDeque<K>,
    all: HashSet<K>,
}

impl<K> Default for Dirty<K> {
    fn default() -> Self {
        let marked = Marked { order: VecDeque::new(), all: HashSet::new() };
        Self { marked: Mutex::new(marked), wake: Notify::new() }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Dirty<K> {
    /// Marks these; one that is already marked stays marked once.
    pub fn mark(&self, keys: impl IntoIterator<Item = K>) {
        let mut marked = self.marked.lock();
        for key in keys {
            if marked.all.insert(key.clone()) {
                marked.order.push_back(key);
            }
        }
        drop(marked);
        self.wake.notify_one();
    }

    /// Every marked key, as it is marked. For one consumer.
    pub fn stream(self: Arc<Self>) -> impl Stream<Item = K> + Send + 'static {
        futures::stream::unfold(self, |dirty| async move {
            loop {
                if let Some(key) = dirty.take() {
                    return Some((key, dirty));
                }
                dirty.wake.notified().await;
            }
        })
    }

    fn take(&self) -> Option<K> {
        let mut marked = self.marked.lock();
        let key = marked.order.pop_front()?;
        marked.all.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    #[tokio::test]
    async fn marks_are_kept_until_taken_and_counted_once() {
        let dirty = Arc::new(Dirty::default());
        dirty.mark([1, 1, 2]);
        dirty.mark([1]);
        let mut seen: Vec<i32> = dirty.clone().stream().take(2).collect().await;
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        let waiting = tokio::spawn({
            let dirty = dirty.clone();
            async move { std::pin::pin!(dirty.stream()).next().await }
        });
        tokio::task::yield_now().await;
        dirty.mark([3]);
        assert_eq!(waiting.await.unwrap(), Some(3));
    }
}
