//! Files that programs can make again: where they are, and how they are put in place whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Error, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The platform's folder for what programs can make again; `variable` reads the environment.
pub(crate) fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path there is to be ignored (XDG Base Directory Specification).
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        Some(absolute("HOME")?.join("Library").join("Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
    }
}

/// The bytes of a file, at most `most` of them; none where there is no such file.
///
/// # Errors
/// A message that begins with the path.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&error)),
        Ok(file) => file.take(most + 1).read_to_end(&mut bytes).map_err(|error| at(&error))?,
    };
    if bytes.len() as u64 > most { Err(at(&format!("has more than {most} bytes"))) } else { Ok(Some(bytes)) }
}

/// Puts a file in place by renaming, so that a reader sees the old one or the new one.
///
/// # Errors
/// Whatever the system says; then the old file is as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // Neither another process nor another thread writes to the same one.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let temporary = beside(path, &format!("{}.{}.tmp", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // Half a file is of no use; that it cannot be removed either is not worse.
        let _ = fs::remove_file(&temporary);
    })
}

/// FNV-1a of 64 bits (Fowler, Noll and Vo, 1991), begun with [`EMPTY`]: against damage, not against malice; the same on every platform and
/// in every release, unlike `std`'s.
pub(crate) const fn checksum(mut sum: u64, data: &[u8]) -> u64 {
    let mut at = 0;
    while at < data.len() {
        sum = (sum ^ data[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    sum
}

/// The checksum of nothing.
pub(crate) const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// A file's name with something behind it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{ending}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(any(windows, target_os = "macos")))]
    fn the_cache_folder_is_the_platforms() {
        let with = |pairs: &'static [(&str, &str)]| {
            cache_folder(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        assert_eq!(with(&[("HOME", "/home/a")]), Some("/home/a/.cache".into()));
        assert_eq!(with(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/cache")]), Some("/cache".into()));
        assert_eq!(with(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "cache")]), Some("/home/a/.cache".into()));
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(checksum(EMPTY, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum(EMPTY, b"foobar"), 0x8594_4171_f739_67e8);
    }

    /// Several engines of a process may keep one file.
    #[test]
    fn threads_that_replace_one_file_leave_a_whole_one() {
        let path = std::env::temp_dir().join(format!("wgconv-replaced-{}", std::process::id()));
        std::thread::scope(|scope| {
            for byte in 0..8u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| replace(path, &vec![byte; 10_000]).unwrap()));
            }
        });
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(bytes.len() == 10_000 && bytes.iter().all(|byte| *byte == bytes[0]));
    }
}
