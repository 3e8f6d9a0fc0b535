//! A small file system of one's own; mounting takes root.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// 4 MB that can be filled.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn mount() -> Self {
        let folder = super::folder();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path());
        let is_mounted = command.status().is_ok_and(|status| status.success());
        assert!(is_mounted, "a small file system is needed: run as root, or in a container that may mount");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn fill(&self) {
        std::fs::write(self.path().join("ballast"), vec![0; 5 << 20]).expect_err("the disk is full now");
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
