//! Three real brokers, a real librdkafka client, real kills. Needs CHRONIK_BROKER_BIN, built with `faulty-disk`.

#![expect(clippy::print_stdout, reason = "figures are what these tests are read for")]

mod durability;
mod scenarios;
