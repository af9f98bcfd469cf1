//! The table of targets.

mod admin;
mod client;
mod disk;
mod engine;
mod metadata;
mod peers;
mod rebuild;
mod recovery;

/// One decoder, or a few that belong together.
pub struct Target {
    /// What it is called by.
    pub name: &'static str,
    /// Panics if the input breaks what must hold.
    pub run: fn(&[u8]),
    /// Bytes of memory that it may take at once: so many, and so many for each byte of input.
    pub base: usize,
    /// See `base`.
    pub factor: usize,
    /// Real inputs, from which everything else is made.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Every target.
pub static ALL: &[Target] = &[
    target("request", client::request, (64 * KIB, 128), client::request_seeds),
    target("connection", client::connection, (4 * MIB, 512), client::connection_seeds),
    target("batch", client::batch, (4 * KIB, 8), client::batch_seeds),
    target("peer_frame", peers::frame, (512 * KIB, 16), peers::seeds),
    target("peer_handshake", peers::handshake, (512 * KIB, 16), peers::seeds),
    target("peer_hello", peers::hello, (16 * KIB, 16), peers::hello_seeds),
    target("engine_frame", peers::engine_frame, (64 * KIB, 64), peers::engine_frame_seeds),
    target("engine", engine::run, (8 * MIB, 512), engine::seeds),
    target("membership", engine::membership, (MIB, 256), engine::membership_seeds),
    target("command", metadata::commands, (MIB, 256), metadata::command_seeds),
    target("snapshot", metadata::snapshot, (256 * KIB, 256), metadata::snapshot_seeds),
    target("producers", metadata::producers, (64 * KIB, 64), metadata::producer_seeds),
    target("journal_headers", disk::headers, (16 * KIB, 64), disk::header_seeds),
    target("journal", recovery::run, (MIB, 64), recovery::seeds),
    target("rebuild", rebuild::run, (4 * MIB, 256), rebuild::seeds),
    target("data_folder", disk::identity, (64 * KIB, 64), disk::identity_seeds),
    target("admin", admin::connection, (4 * MIB, 256), admin::seeds),
    target("settings", admin::settings, (256 * KIB, 256), admin::settings_seeds),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    (base, factor): (usize, usize),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target { name, run, base, factor, seeds }
}

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// The parts of an input, each behind two bytes of length; the last one may be cut.
fn parts(mut input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push(part);
        input = rest;
    }
    parts
}

/// An input of these parts.
fn joined<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut input = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).expect("seeds are short");
        input.extend_from_slice(&length.to_be_bytes());
        input.extend_from_slice(part);
    }
    input
}
