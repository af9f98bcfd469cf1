//! Kafka's rules for topic names. Knows nothing of the topics that exist.

use super::limits::TOPIC_NAME;
use super::refusal::{Refusal, RefusalCode};

/// Names Kafka keeps for itself and Chronik for its later internal groups.
const RESERVED: [&str; 4] =
    ["__cluster_metadata", "__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Refuses a name that Kafka does not allow.
pub fn validate_topic_name(name: &str) -> Result<(), Refusal> {
    let refuse =
        |allowed: &str| Err(Refusal::new(RefusalCode::InvalidTopicName, "topic name", name, allowed));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > TOPIC_NAME {
        return refuse("1 to 249 characters");
    }
    if name == "." || name == ".." {
        return refuse("any name but \".\" and \"..\"");
    }
    if !name.chars().all(allowed) {
        return refuse("ASCII letters and digits, '.', '_' and '-'");
    }
    if RESERVED.contains(&name) {
        return refuse("names that are not kept for internal use");
    }
    Ok(())
}

/// Names with equal keys collide: metrics write '.' and '_' alike, so Kafka keeps them apart.
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kafka_allows() {
        for name in ["a", "a.b", "a_b", "A-9", "...", "_", &"x".repeat(249)] {
            assert_eq!(validate_topic_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_kafka_refuses() {
        let long = "x".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", "a:b", &long, "__cluster_metadata"] {
            let refusal = validate_topic_name(name).expect_err(name);
            assert_eq!(refusal.code, RefusalCode::InvalidTopicName);
            assert_eq!(refusal.code.kafka_code(), 17);
        }
    }

    #[test]
    fn a_refusal_reads_well_and_never_echoes_at_length() {
        let text = validate_topic_name("a b").unwrap_err().to_string();
        assert_eq!(text, "topic name = \"a b\" is not allowed: ASCII letters and digits, '.', '_' and '-'");
        let text = validate_topic_name(&"ä".repeat(1 << 20)).unwrap_err().to_string();
        assert!(text.len() < 1_000, "{} bytes", text.len());
    }
}
