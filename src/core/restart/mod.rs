//! Restarts on purpose: whether a broker may stop now, and the permits that keep two from stopping on one state. Pure.
//!
//! The metadata leader judges a request by what the leaders of all affected partitions confirm, and commits the permit with
//! the version of the permits that it judged with. Whoever's permit would be the second on one version is refused.

mod judge;
mod permits;
mod policy;

pub use judge::{Block, Confirmed, FRESH_MS, Half, Hosted, Life, MetadataGroup, Request, Why, judge};
pub use permits::{Leave, Permit, PermitError, PermitId, Permits, Reason, Stage};
pub use policy::{MARGIN_MAX, Policy};
