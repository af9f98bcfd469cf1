//! Three real brokers, a real librdkafka client, real kills. Needs CHRONIK_BROKER_BIN, built with `faulty-disk`.

mod durability;
mod scenarios;
