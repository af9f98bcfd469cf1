//! The on-disk log.
