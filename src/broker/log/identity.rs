//! Who a data folder belongs to: `meta.json`, the folder's lock, and the count of its starts.
//! Written by `format`, checked and counted up at each start, before the broker speaks to anyone.

use std::io;
use std::path::{Path, PathBuf};

use chronik_core::ids::{BrokerId, ClusterId, DiskId, Incarnation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk::{self, Disk};
use super::segment;

const MAGIC: &str = "chronik-data";
const FORMAT: u32 = 1;
const META: &str = "meta.json";
const LOCK: &str = "lock";
/// What may lie in a folder that `format` takes for empty: a file system's own folder, and our own leavings.
const IGNORED: &[&str] = &["lost+found", LOCK, "meta.tmp", "faults.json"];

/// The cluster, broker and disk that every file of a data folder names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub cluster: ClusterId,
    pub broker: BrokerId,
    pub disk: DiskId,
}

/// A voter of the metadata group at the cluster's birth.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InitialVoter {
    pub broker: BrokerId,
    /// `host:port` of its peer listener.
    pub address: String,
}

/// How this disk came to the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Birth {
    /// It is one of those that form the cluster.
    InitialVoters(Vec<InitialVoter>),
    /// It joins the cluster that these founded.
    Join(Vec<InitialVoter>),
}

/// Why a data folder cannot be formatted or opened.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("data folder {dir} is not empty (it holds {found:?}): format takes an empty folder only")]
    NotEmpty { dir: PathBuf, found: String },
    #[error("data folder {dir} is already formatted, for cluster {} as broker {}", .identity.cluster, .identity.broker)]
    AlreadyFormatted { dir: PathBuf, identity: Identity },
    #[error("data folder {dir} is not formatted: run `chronik-broker format` first")]
    NotFormatted { dir: PathBuf },
    #[error("data folder {dir} is in use by another process")]
    InUse { dir: PathBuf },
    #[error(
        "data folder {dir} is of cluster {found}, not of cluster {expected}: give the broker its own data folder back, or an \
         empty one"
    )]
    OtherCluster { dir: PathBuf, found: ClusterId, expected: ClusterId },
    #[error(
        "data folder {dir} is broker {found}'s, not broker {expected}'s: give each broker its own data folder back, or an \
         empty one"
    )]
    OtherBroker { dir: PathBuf, found: BrokerId, expected: BrokerId },
    #[error("{file} has format version {found}; this build knows {FORMAT}")]
    UnknownFormat { file: PathBuf, found: u64 },
    #[error("{file} is damaged: {what}")]
    Damaged { file: PathBuf, what: String },
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// The body of `meta.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Meta {
    #[serde(flatten)]
    identity: Identity,
    birth: Birth,
    starts: u64,
}

#[derive(Serialize, Deserialize)]
struct MetaFile {
    magic: String,
    format: u32,
    /// Of the body as serde_json writes it.
    crc32c: u32,
    body: Meta,
}

/// A formatted data folder, locked for this process and counted as started.
pub struct DataFolder {
    pub dir: PathBuf,
    pub identity: Identity,
    pub incarnation: Incarnation,
    pub birth: Birth,
    _lock: Box<dyn Send + Sync>,
}

impl DataFolder {
    /// Makes an empty folder a broker's data folder, with a disk id of its own.
    pub fn format(
        disk: &dyn Disk,
        dir: &Path,
        cluster: ClusterId,
        broker: BrokerId,
        birth: Birth,
    ) -> Result<Identity, IdentityError> {
        let identity = Identity { cluster, broker, disk: DiskId(Uuid::new_v4()) };
        Self::format_as(disk, dir, identity, birth, rand::random())
    }

    /// Like [`format`](Self::format), with the disk id and the journal's salt drawn by the caller.
    pub fn format_as(
        disk: &dyn Disk,
        dir: &Path,
        identity: Identity,
        birth: Birth,
        salt: u32,
    ) -> Result<Identity, IdentityError> {
        disk.create_dir_all(dir).map_err(io_error("create", dir))?;
        let _lock = lock(disk, dir)?;
        refuse_used(disk, dir)?;
        segment::create_first(disk, dir, &identity, salt).map_err(io_error("create the journal in", dir))?;
        // The meta file comes last: a folder is formatted once it is there, and not before.
        write_meta(disk, dir, &Meta { identity: identity.clone(), birth, starts: 0 })?;
        Ok(identity)
    }

    /// Whether a folder was formatted; one of another cluster or broker is refused.
    pub fn is_formatted_for(
        disk: &dyn Disk,
        dir: &Path,
        cluster: &ClusterId,
        broker: BrokerId,
    ) -> Result<bool, IdentityError> {
        if !list_or_empty(disk, dir)?.iter().any(|name| name == META) {
            return Ok(false);
        }
        let (dir, found) = (dir.to_owned(), read_meta(disk, dir)?.identity);
        if found.cluster != *cluster {
            return Err(IdentityError::OtherCluster { dir, found: found.cluster, expected: cluster.clone() });
        }
        if found.broker != broker {
            return Err(IdentityError::OtherBroker { dir, found: found.broker, expected: broker });
        }
        Ok(true)
    }

    /// The brokers that founded the cluster, as they were known when this folder was formatted.
    pub fn founders(&self) -> &[InitialVoter] {
        match &self.birth {
            Birth::InitialVoters(founders) | Birth::Join(founders) => founders,
        }
    }

    /// Locks the folder and counts this start.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, IdentityError> {
        let names = list_or_empty(disk, dir)?;
        if !names.iter().any(|name| name == META) {
            return Err(IdentityError::NotFormatted { dir: dir.to_owned() });
        }
        let lock = lock(disk, dir)?;
        let mut meta = read_meta(disk, dir)?;
        meta.starts += 1;
        write_meta(disk, dir, &meta)?;
        let incarnation = Incarnation { disk: meta.identity.disk, start: meta.starts };
        Ok(Self { dir: dir.to_owned(), identity: meta.identity, incarnation, birth: meta.birth, _lock: lock })
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { action, path, source }
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Send + Sync>, IdentityError> {
    let path = dir.join(LOCK);
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => IdentityError::InUse { dir: dir.to_owned() },
        _ => io_error("lock", &path)(error),
    })
}

fn list_or_empty(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, IdentityError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(io_error("list", dir)),
    }
}

/// A format that died before its last step left a journal without a meta file: that one is done again.
fn refuse_used(disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    if names.iter().any(|name| name == META) {
        let identity = read_meta(disk, dir)?.identity;
        return Err(IdentityError::AlreadyFormatted { dir: dir.to_owned(), identity });
    }
    let strange = |name: &String| !IGNORED.contains(&name.as_str()) && name != segment::FOLDER;
    if let Some(found) = names.iter().find(|name| strange(name)) {
        return Err(IdentityError::NotEmpty { dir: dir.to_owned(), found: found.clone() });
    }
    if names.iter().any(|name| name == segment::FOLDER) {
        let unused = segment::remove_unused(disk, dir).map_err(io_error("look into the journal in", dir))?;
        if !unused {
            return Err(IdentityError::NotEmpty { dir: dir.to_owned(), found: segment::FOLDER.to_owned() });
        }
    }
    Ok(())
}

fn write_meta(disk: &dyn Disk, dir: &Path, meta: &Meta) -> Result<(), IdentityError> {
    let path = dir.join(META);
    let encode = || -> serde_json::Result<Vec<u8>> {
        let crc32c = crc32c::crc32c(&serde_json::to_vec(meta)?);
        let file = MetaFile { magic: MAGIC.to_owned(), format: FORMAT, crc32c, body: meta.clone() };
        let mut bytes = serde_json::to_vec_pretty(&file)?;
        bytes.push(b'\n');
        Ok(bytes)
    };
    let written = encode().map_err(io::Error::other).and_then(|bytes| disk::replace(disk, &path, &bytes));
    written.map_err(io_error("write", &path))
}

fn read_meta(disk: &dyn Disk, dir: &Path) -> Result<Meta, IdentityError> {
    let file = dir.join(META);
    let bytes = disk::read_all(disk, &file).map_err(io_error("read", &file))?;
    let damaged = |what: String| IdentityError::Damaged { file: file.clone(), what };
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| damaged(format!("it is not JSON: {error}")))?;
    if value["magic"] != MAGIC {
        return Err(damaged(format!("magic is {}, not {MAGIC:?}", value["magic"])));
    }
    let format = value["format"].as_u64().ok_or_else(|| damaged("format is not a number".to_owned()))?;
    if format != u64::from(FORMAT) {
        return Err(IdentityError::UnknownFormat { file: file.clone(), found: format });
    }
    let meta: MetaFile = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    let body = serde_json::to_vec(&meta.body).map_err(|error| damaged(error.to_string()))?;
    if crc32c::crc32c(&body) != meta.crc32c {
        return Err(damaged("its checksum does not match".to_owned()));
    }
    Ok(meta.body)
}
