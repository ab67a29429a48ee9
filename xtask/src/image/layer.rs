//! The one layer of the image: the program, and the directories that a read-only root cannot make later.

use std::io;

use tar::{Builder, EntryType, Header};

/// Directories in the order in which they have to be made. What engines mount (`/proc`, `/sys`, `/dev`) they make.
const DIRECTORIES: [&str; 5] = ["etc/", "etc/capture-agent/", "var/", "var/lib/", "var/lib/capture-agent/"];

/// The layer as an uncompressed tar, with `program` as `/name`.
pub fn of(name: &str, program: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for directory in DIRECTORIES {
        layer.append_data(&mut header(EntryType::Directory, 0o755, 0), directory, io::empty())?;
    }
    layer.append_data(&mut header(EntryType::Regular, 0o755, program.len()), name, program)?;
    layer.into_inner()
}

/// Root's, and of no time: a time would make each image another one.
pub fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_roots_and_may_be_executed() {
        let layer = of("agent", b"program").unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            assert_eq!(header.mode().unwrap(), 0o755);
            found.push((entry.path().unwrap().display().to_string(), entry.size()));
        }
        assert_eq!(found.len(), DIRECTORIES.len() + 1);
        assert_eq!(found.last(), Some(&("agent".to_owned(), 7)));
    }

    #[test]
    fn the_same_program_gives_the_same_layer() {
        assert_eq!(of("agent", b"program").unwrap(), of("agent", b"program").unwrap());
    }
}
