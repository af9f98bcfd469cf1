//! A hash that stays the same across compilers, platforms and versions of libraries. Pure.

use serde_json::Value;

use super::super::validate::ValidCluster;
use super::overlay;
use super::pod::Containers;

/// Over what a running broker only takes up by a restart: its containers, its settings file, and what else is laid over
/// its pod. Where it may be scheduled is not part of it: that never justifies a restart.
pub(super) fn restart_hash(cluster: &ValidCluster, containers: &Containers, settings: &str) -> String {
    let mut parts = serde_json::json!({
        "format": containers.format,
        "broker": containers.broker,
        "settings": settings,
    });
    if let Some(rack) = &containers.rack {
        parts["rack"] = serde_json::json!({"container": rack, "from": cluster.spec.rack});
    }
    if let Some(overlay) = overlay::needs_restart(&cluster.pod) {
        parts["overlay"] = overlay;
    }
    format!("{:016x}", stable_hash(&parts))
}

/// FNV-1a over the value with sorted keys.
pub fn stable_hash(value: &Value) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.value(value);
    hash.0
}

struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Each kind of value begins with its own letter and ends with a byte no text holds.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes(b"n"),
            Value::Bool(truth) => self.bytes(if *truth { b"t" } else { b"f" }),
            Value::Number(number) => self.text(b"d", &number.to_string()),
            Value::String(text) => self.text(b"s", text),
            Value::Array(items) => {
                self.bytes(b"[");
                items.iter().for_each(|item| self.value(item));
                self.bytes(b"]");
            }
            Value::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(key, _)| key.as_str());
                self.bytes(b"{");
                for (key, value) in sorted {
                    self.text(b"k", key);
                    self.value(value);
                }
                self.bytes(b"}");
            }
        }
    }

    fn text(&mut self, kind: &[u8], text: &str) {
        self.bytes(kind);
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter_and_their_values_do() {
        let parsed = |text: &str| stable_hash(&serde_json::from_str(text).unwrap());
        assert_eq!(parsed(r#"{"a": 1, "b": [true, null]}"#), parsed(r#"{"b": [true, null], "a": 1}"#));
        assert_ne!(parsed(r#"["ab", "c"]"#), parsed(r#"["a", "bc"]"#));
        assert_ne!(parsed(r#"{"a": {}}"#), parsed(r#"{"a": []}"#));
    }

    /// A different value here means that every running broker counts as outdated after an upgrade.
    #[test]
    fn it_is_the_same_for_ever() {
        assert_eq!(
            format!("{:016x}", stable_hash(&json!({"image": "a:1", "ports": [9092]}))),
            "1d8bae1fe381cc05"
        );
    }
}
