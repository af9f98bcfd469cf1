//! Places for connections: so many altogether, and so many from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Who has how many places.
#[derive(Default)]
struct Taken {
    all: usize,
    from: BTreeMap<IpAddr, usize>,
}

/// All places.
pub(super) struct Places {
    most: usize,
    most_from_one: usize,
    taken: Arc<Mutex<Taken>>,
}

/// A connection's place, given back when dropped.
pub(super) struct Place {
    of: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

/// Which limit leaves no place: the setting, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) setting: &'static str,
    pub(super) limit: usize,
}

impl Places {
    pub(super) fn new(most: usize, most_from_one: usize) -> Self {
        Self { most, most_from_one, taken: Arc::default() }
    }

    pub(super) fn take(&self, from: IpAddr) -> Result<Place, Full> {
        let of = from.to_canonical();
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return Err(Full { setting: "max-connections", limit: self.most });
        }
        if taken.from.get(&of).is_some_and(|count| *count >= self.most_from_one) {
            return Err(Full { setting: "max-connections-per-ip", limit: self.most_from_one });
        }
        taken.all += 1;
        *taken.from.entry(of).or_default() += 1;
        Ok(Place { of, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Some(count) = taken.from.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.from.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place_and_places_come_back() {
        let places = Places::new(3, 2);
        let [one, other]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = places.take(one).unwrap();
        let _second = places.take("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        let refused = places.take(one).err();
        assert_eq!(refused, Some(Full { setting: "max-connections-per-ip", limit: 2 }));
        let third = places.take(other).unwrap();
        assert_eq!(places.take(other).err(), Some(Full { setting: "max-connections", limit: 3 }));
        drop((first, third));
        assert!(places.take(one).is_ok() && places.take(other).is_ok());
        assert_eq!(places.taken.lock().from.len(), 1, "who has no place is forgotten");
    }
}
