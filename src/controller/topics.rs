//! All Topics, found by the cluster and the name that they stand for: thousands are looked at without looking at them all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chronik_api::Topic;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use parking_lot::Mutex;

use crate::context::cluster_of;
use crate::feed::ClusterKey;

/// Names of resources, by the topic's name in the brokers.
type Names = HashMap<String, BTreeSet<String>>;

/// The store, and what leads to its entries. Clones share both.
#[derive(Clone)]
pub struct Topics {
    store: Store<Topic>,
    index: Arc<Mutex<Index>>,
}

/// Names of resources by what they stand for. A resource is in its cluster's namespace.
#[derive(Default)]
struct Index {
    clusters: HashMap<ClusterKey, Names>,
    /// What each resource, by namespace and name, stood for when it was last seen.
    known: HashMap<(String, String), (ClusterKey, String)>,
    /// Those that were seen since a new list began; they are all there is when it ends.
    listed: Option<BTreeSet<(String, String)>>,
}

impl Topics {
    /// Of a store whose watch tells [`Topics::note`] all that it tells the store.
    pub fn new(store: Store<Topic>) -> Self {
        Self { store, index: Arc::default() }
    }

    /// The watch said this.
    pub fn note(&self, event: &Event<Topic>) {
        let mut index = self.index.lock();
        match event {
            Event::Init => index.listed = Some(BTreeSet::new()),
            Event::InitApply(topic) | Event::Apply(topic) => index.put(topic),
            Event::Delete(topic) => index.remove(&place(topic)),
            Event::InitDone => index.forget_all_but_listed(),
        }
    }

    /// All that stand for that topic of that cluster.
    pub fn standing_for(&self, cluster: &ClusterKey, topic: &str) -> Vec<Arc<Topic>> {
        self.refs(cluster, topic).iter().filter_map(|found| self.store.get(found)).collect()
    }

    /// The same by name only.
    pub fn refs(&self, cluster: &ClusterKey, topic: &str) -> Vec<ObjectRef<Topic>> {
        let index = self.index.lock();
        let names = index.clusters.get(cluster).and_then(|names| names.get(topic));
        names.into_iter().flatten().map(|name| ObjectRef::new(name).within(&cluster.namespace)).collect()
    }

    /// All of a cluster.
    pub fn of(&self, cluster: &ClusterKey) -> Vec<ObjectRef<Topic>> {
        let index = self.index.lock();
        let names = index.clusters.get(cluster).into_iter().flat_map(HashMap::values).flatten();
        names.map(|name| ObjectRef::new(name).within(&cluster.namespace)).collect()
    }
}

impl Index {
    fn put(&mut self, topic: &Topic) {
        let place = place(topic);
        if let Some(listed) = &mut self.listed {
            listed.insert(place.clone());
        }
        let stands_for = (cluster_of(topic), topic.topic_name().to_owned());
        if self.known.get(&place) == Some(&stands_for) {
            return;
        }
        self.remove(&place);
        let (cluster, name) = stands_for.clone();
        self.clusters.entry(cluster).or_default().entry(name).or_default().insert(place.1.clone());
        self.known.insert(place, stands_for);
    }

    fn remove(&mut self, place: &(String, String)) {
        let Some((cluster, topic)) = self.known.remove(place) else { return };
        let Some(names) = self.clusters.get_mut(&cluster) else { return };
        if let Some(resources) = names.get_mut(&topic) {
            resources.remove(&place.1);
            if resources.is_empty() {
                names.remove(&topic);
            }
        }
        if names.is_empty() {
            self.clusters.remove(&cluster);
        }
    }

    fn forget_all_but_listed(&mut self) {
        let Some(listed) = self.listed.take() else { return };
        let gone: Vec<_> = self.known.keys().filter(|place| !listed.contains(*place)).cloned().collect();
        gone.iter().for_each(|place| self.remove(place));
    }
}

fn place(topic: &Topic) -> (String, String) {
    (topic.namespace().unwrap_or_default(), topic.name_any())
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;

    use super::*;
    use crate::topic::testing::topic;

    fn key(name: &str) -> ClusterKey {
        ClusterKey { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    /// Says the same to the store and to the index.
    fn said(events: impl IntoIterator<Item = Event<Topic>>) -> Topics {
        let (store, mut writer) = reflector::store();
        let topics = Topics::new(store);
        for event in events {
            writer.apply_watcher_event(&event);
            topics.note(&event);
        }
        topics
    }

    fn names(found: &[Arc<Topic>]) -> Vec<String> {
        found.iter().map(|topic| topic.name_any()).collect()
    }

    #[test]
    fn two_resources_that_stand_for_one_topic_are_found_together() {
        let topics = said([
            Event::Init,
            Event::InitApply(topic("orders", 1, "partitions: 1")),
            Event::InitApply(topic("bills", 1, "partitions: 1")),
            Event::InitDone,
            Event::Apply(topic("other", 2, "partitions: 1\ntopicName: orders")),
            Event::Apply(topic("foreign", 2, "clusterRef: {name: elsewhere}\ntopicName: orders")),
        ]);
        assert_eq!(names(&topics.standing_for(&key("demo"), "orders")), ["orders", "other"]);
        assert_eq!((topics.of(&key("demo")).len(), topics.of(&key("elsewhere")).len()), (3, 1));
    }

    #[test]
    fn what_is_deleted_changed_or_missing_in_a_new_list_is_not_found() {
        let topics = said([
            Event::Init,
            Event::InitApply(topic("kept", 1, "partitions: 1")),
            Event::InitApply(topic("unlisted", 1, "partitions: 1")),
            Event::InitDone,
            Event::Apply(topic("moved", 1, "partitions: 1")),
            Event::Apply(topic("moved", 1, "clusterRef: {name: elsewhere}")),
            Event::Apply(topic("deleted", 1, "partitions: 1")),
            Event::Delete(topic("deleted", 1, "partitions: 1")),
            Event::Init,
            Event::InitApply(topic("kept", 1, "partitions: 1")),
            Event::InitDone,
        ]);
        assert_eq!(topics.of(&key("demo")), [ObjectRef::new("kept").within("shop")]);
        assert!(topics.of(&key("elsewhere")).is_empty(), "the second list does not hold it");
        assert!(topics.refs(&key("demo"), "deleted").is_empty());
    }
}
