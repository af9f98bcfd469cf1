//! The corpus: for each target one file that holds its inputs, each behind its length. libFuzzer wants a folder of files,
//! so it is unpacked before a run and packed again after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::Target;

/// Inputs of a target, ascending.
pub type Inputs = BTreeSet<Vec<u8>>;

fn file(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// What the repository holds, and the target's own seeds.
pub fn inputs(target: &Target) -> Result<Inputs> {
    let path = file(target);
    let mut inputs: Inputs = (target.seeds)().into_iter().collect();
    match fs::read(&path) {
        Ok(bytes) => inputs.extend(unpacked(&bytes).with_context(|| format!("read {}", path.display()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    }
    Ok(inputs)
}

fn unpacked(mut bytes: &[u8]) -> Result<Inputs> {
    let mut inputs = Inputs::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        ensure!(length <= rest.len(), "an input of {length} bytes where {} remain", rest.len());
        let (input, rest) = rest.split_at(length);
        inputs.insert(input.to_vec());
        bytes = rest;
    }
    Ok(inputs)
}

/// Writes every input into a file of its own in `folder`.
pub fn unpack(target: &Target, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for input in inputs(target)? {
        let path = folder.join(format!("{:08x}-{}", crc32c::crc32c(&input), input.len()));
        fs::write(&path, input).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Bytes of one target's corpus in the repository, at most: the shortest inputs come first.
const MOST: usize = 112 << 10;

/// Makes the inputs in `folder` the repository's, without what the seeds give anyway.
pub fn pack(target: &Target, folder: &Path) -> Result<usize> {
    let seeds: Inputs = (target.seeds)().into_iter().collect();
    let mut inputs = Inputs::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        inputs.insert(fs::read(entry?.path())?);
    }
    let mut packed = Vec::new();
    let mut shortest: Vec<_> = inputs.difference(&seeds).collect();
    shortest.sort_by_key(|input| input.len());
    for input in shortest {
        if packed.len() + 4 + input.len() > MOST {
            break;
        }
        packed.extend_from_slice(&u32::try_from(input.len())?.to_le_bytes());
        packed.extend_from_slice(input);
    }
    let path = file(target);
    fs::create_dir_all(path.parent().expect("it has one"))?;
    fs::write(&path, &packed).with_context(|| format!("write {}", path.display()))?;
    Ok(packed.len())
}
