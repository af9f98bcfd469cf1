//! Which build this is: its name, the versions of the brokers' protocol that it speaks, the feature levels it can work at.
//!
//! A build speaks at least what the one before it speaks, so that both run side by side while one replaces the other. What
//! is written to disks and to the metadata changes only with a finalised feature level.

use chronik_core::metadata::FeatureRange;

use crate::peer::VersionRange;

/// The build's name.
#[cfg(not(feature = "next-version"))]
pub const NAME: &str = env!("CARGO_PKG_VERSION");
/// The build's name.
#[cfg(feature = "next-version")]
pub const NAME: &str = concat!(env!("CARGO_PKG_VERSION"), "+next");

/// Versions of the brokers' protocol.
pub const PROTOCOL: VersionRange = VersionRange { min: 2, max: 2 + NEXT };

/// Feature levels.
pub const FEATURES: FeatureRange = FeatureRange { min: 1, max: 1 + NEXT };

const NEXT: u16 = cfg!(feature = "next-version") as u16;
