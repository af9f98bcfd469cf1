//! What a start would find in a data folder, without a start: everything is read and checked, nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::identity::{DataFolder, Identity, IdentityError};
use super::journal::{LogError, RecoveredGroup};
use super::looking::LookingDisk;
use super::recovery;
use super::types::Damage;

/// A data folder as it was found.
pub struct Checked {
    pub identity: Identity,
    /// Ascending by group.
    pub groups: Vec<RecoveredGroup>,
    /// Every fault, in the order of the journal; each once.
    pub faults: Vec<Damage>,
    /// Faults beyond those that are listed.
    pub more_faults: u64,
    /// Set if replicas may be lost of which nothing was found: see `Log::unattributed_damage`.
    pub unattributed: Option<Damage>,
    /// The write that the last stop cut short, which a start removes: it was never acknowledged.
    pub torn: Option<Torn>,
    pub segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// The end of a journal that was being written when its broker died.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    pub file: PathBuf,
    /// Byte offset from which on it is torn.
    pub offset: u64,
    pub bytes: u64,
}

/// Why a folder cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Reads the journal of a formatted data folder as a start would. The folder must not be in use.
pub fn check(dir: &Path) -> Result<Checked, CheckError> {
    let disk: Arc<dyn Disk> = Arc::new(LookingDisk);
    let folder = DataFolder::open(&*disk, dir)?;
    let recovered = recovery::recover(&disk, dir, &folder.identity)?;
    Ok(Checked {
        identity: folder.identity.clone(),
        groups: recovered.found,
        faults: recovered.faults.listed,
        more_faults: recovered.faults.more,
        unattributed: recovered.unattributed,
        torn: recovered.torn,
        segments: recovered.size.segments,
        bytes: recovered.size.bytes,
    })
}
