//! Judges a broker's registration: its identity, its age, and that what it says about itself is well formed.

use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::{Broker, ClusterState, Listener};

impl ClusterState {
    /// Whether the broker may register.
    pub fn validate_register_broker(&self, broker: &Broker) -> Result<(), Refusal> {
        validate_texts(broker)?;
        self.validate_identity(broker)?;
        if !broker.features.contains(self.feature_level) {
            let range = format!("{} to {}", broker.features.min, broker.features.max);
            let allowed = format!("a range with level {}, which the cluster works at", self.feature_level);
            return Err(Refusal::new(RefusalCode::InvalidFeatureLevel, "feature levels", range, allowed));
        }
        if self.broker(broker.id).is_none() && self.brokers.len() >= limits::BROKERS {
            let allowed = format!("at most {} in a cluster", limits::BROKERS);
            return Err(Refusal::new(RefusalCode::LimitExceeded, "brokers", self.brokers.len() + 1, allowed));
        }
        Ok(())
    }

    fn validate_identity(&self, broker: &Broker) -> Result<(), Refusal> {
        if let Some(other) = self.brokers().find(|other| other.disk == broker.disk && other.id != broker.id) {
            let field = format!("disk of broker {}", broker.id);
            let allowed = format!("a disk of its own, and this one is registered as broker {}", other.id);
            return Err(Refusal::new(RefusalCode::DuplicateBroker, field, broker.disk, allowed));
        }
        let Some(known) = self.broker(broker.id) else { return Ok(()) };
        if known.disk != broker.disk {
            let field = format!("disk of broker {}", broker.id);
            let allowed = format!("{}, the disk this broker is registered with", known.disk);
            return Err(Refusal::new(RefusalCode::DuplicateBroker, field, broker.disk, allowed));
        }
        if broker.incarnation_start < known.incarnation_start {
            let field = format!("start of broker {}", broker.id);
            let allowed = format!("{} or later, as that start has registered", known.incarnation_start);
            let code = RefusalCode::StaleIncarnation;
            return Err(Refusal::new(code, field, broker.incarnation_start, allowed));
        }
        Ok(())
    }
}

fn validate_texts(broker: &Broker) -> Result<(), Refusal> {
    let refuse = |field: &str, value: &str, allowed: String| {
        Err(Refusal::new(RefusalCode::InvalidRequest, field, value, allowed))
    };
    if !(limits::BROKER_ID_MIN..=limits::BROKER_ID_MAX).contains(&broker.id.0) {
        let allowed = format!("{} to {}", limits::BROKER_ID_MIN, limits::BROKER_ID_MAX);
        return refuse("broker id", &broker.id.to_string(), allowed);
    }
    if broker.disk.0.is_nil() {
        return refuse("disk id", &broker.disk.to_string(), "a random UUID".into());
    }
    let texts = [
        ("rack", broker.rack.as_deref().unwrap_or("-"), limits::LONG_TEXT),
        ("peer address", &broker.peer_address, limits::LONG_TEXT),
        ("version", &broker.version, limits::SHORT_TEXT),
    ];
    for (field, value, most) in texts {
        if value.is_empty() || value.len() > most {
            return refuse(field, value, format!("1 to {most} bytes"));
        }
    }
    if broker.listeners.is_empty() || broker.listeners.len() > limits::LISTENERS {
        let allowed = format!("1 to {}", limits::LISTENERS);
        return refuse("listeners", &broker.listeners.len().to_string(), allowed);
    }
    broker
        .listeners
        .iter()
        .enumerate()
        .try_for_each(|(at, listener)| validate_listener(listener, &broker.listeners[..at]))
}

fn validate_listener(listener: &Listener, before: &[Listener]) -> Result<(), Refusal> {
    let refuse = |field: &str, value: &str, allowed: &str| {
        Err(Refusal::new(RefusalCode::InvalidRequest, field, value, allowed))
    };
    let Listener { name, host, port } = listener;
    if name.is_empty() || name.len() > limits::SHORT_TEXT {
        return refuse("listener name", name, "1 to 64 bytes");
    }
    if before.iter().any(|other| other.name == *name) {
        return refuse("listener name", name, "each name once only");
    }
    if host.is_empty() || host.len() > limits::LONG_TEXT {
        return refuse("listener host", host, "1 to 255 bytes");
    }
    if *port == 0 {
        return refuse("listener port", "0", "1 to 65535");
    }
    Ok(())
}
