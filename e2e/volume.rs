//! A small disk of a broker's own: a tmpfs that can fill up and be given more room. Needs root. Knows no brokers.
//!
//! It is unmounted with the value, also in a panic; what a killed run left is unmounted by the next one.

use std::path::{Path, PathBuf};
use std::process::Command;

const PREFIX: &str = "chronik-e2e";

/// A mounted tmpfs.
pub struct Volume {
    folder: PathBuf,
}

impl Volume {
    /// Mounts one of that size on an empty folder.
    pub fn mount(folder: &Path, mib: u32) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts a small disk and needs root");
        unmount_leftovers();
        std::fs::create_dir_all(folder).expect("a folder to mount on");
        let source = format!("{PREFIX}-{}", std::process::id());
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), &source], folder);
        Self { folder: folder.to_owned() }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        let done = Command::new("df").args(["--output=used", "-B1"]).arg(&self.folder).output();
        let text = String::from_utf8_lossy(&done.expect("start df").stdout).into_owned();
        text.lines().last().and_then(|line| line.trim().parse().ok()).expect("what df says is used")
    }

    /// Gives it another size.
    pub fn resize(&self, mib: u32) {
        mount(&["-o", &format!("remount,size={mib}m")], &self.folder);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        unmount(&self.folder);
    }
}

fn mount(args: &[&str], folder: &Path) {
    let done = Command::new("mount").args(args).arg(folder).output().expect("start mount");
    assert!(done.status.success(), "mount: {}", String::from_utf8_lossy(&done.stderr));
}

/// Lazily: a process that is just ending may still hold a file.
fn unmount(folder: &Path) {
    let done = Command::new("umount").arg("-l").arg(folder).status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("still mounted: {}", folder.display());
    }
}

fn unmount_leftovers() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the mounts");
    for line in mounts.lines() {
        let mut words = line.split(' ');
        if let (Some(source), Some(folder)) = (words.next(), words.next())
            && crate::leftover::is_of_a_dead_run(source, PREFIX)
        {
            unmount(Path::new(folder));
        }
    }
}
