//! The files of tuning tables: where the user's is, reading it, and adding to it without losing what others add.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::table::{Parsed, Section, Table};

/// Bytes of a file beyond which it is no table: a million entries.
const LARGEST: u64 = 64 << 20;

/// How long another process may hold the lock, which it does for a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The user's table: the wanted path, `WGCONV_TUNING_TABLE`, or `wgconv/tuning.txt` in the platform's folder for caches; none where the
/// variable is empty or there is no such folder.
pub(super) fn user_table(wanted: Option<&Path>) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name);
    match (wanted, variable("WGCONV_TUNING_TABLE")) {
        (Some(path), _) => Some(path.into()),
        (None, Some(path)) => (!path.is_empty()).then(|| path.into()),
        (None, None) => Some(cache_folder(variable)?.join("wgconv").join("tuning.txt")),
    }
}

/// The folder for what programs can make again.
fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
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

/// Reads a table; one that is not there is empty.
///
/// # Errors
/// A message that begins with the path.
pub(super) fn read(path: &Path) -> Result<Parsed, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Parsed::default()),
        Err(error) => return Err(at(&error)),
        Ok(file) => file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| at(&error))?,
    };
    if bytes.len() as u64 > LARGEST {
        return Err(at(&format!("has more than {LARGEST} bytes, which no tuning table has")));
    }
    let text = String::from_utf8(bytes).map_err(|error| at(&format!("is not text: {error}")))?;
    Table::parse(&text).map_err(|message| at(&message))
}

/// Adds entries to a table, under a lock: reads what others have written since, and puts the whole in place by renaming, so that a
/// reader sees the old table or the new one.
///
/// # Errors
/// A message that begins with the path; then the table is as it was. So it stays, too, where it is a table of another version or some
/// other file.
pub(super) fn add(path: &Path, device: &str, entries: &Section) -> Result<(), String> {
    // A link stays a link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| at(&error))?;
    }
    let lock = OpenOptions::new().create(true).append(true).open(beside(path, "lock")).map_err(|error| at(&error))?;
    wait_for(&lock).map_err(|message| at(&message))?;

    let mut table = read(path)?.table;
    table.merge(device, entries);
    let temporary = beside(path, &format!("{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(table.to_string().as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        // Half a file is of no use; that it cannot be removed either is not worse.
        let _ = fs::remove_file(&temporary);
        at(&error)
    })
}

/// A file's name with something behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{ending}"));
    path.with_file_name(name)
}

/// Locks until the file is closed.
fn wait_for(lock: &File) -> Result<(), String> {
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err("is locked by another process".into()),
            // Some network file systems have no locks: an entry may be lost there, and is measured again.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error.to_string()),
        }
    }
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
    fn writers_at_the_same_time_lose_nothing() {
        let folder = std::env::temp_dir().join(format!("wgconv-tune-{}-writers", std::process::id()));
        let path = folder.join("deep").join("tuning.txt");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for entry in 0..10 {
                        add(path, "device", &Section::from([(format!("{writer} {entry}"), "direct".into())])).unwrap();
                    }
                });
            }
        });
        let parsed = read(&path).unwrap();
        assert_eq!(parsed.table.section("device").map(Section::len), Some(40));
        assert!(parsed.damage.is_empty());
        let left: Vec<_> = fs::read_dir(folder.join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "only the table and its lock may be left: {left:?}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn no_other_file_is_overwritten() {
        let path = std::env::temp_dir().join(format!("wgconv-tune-{}-other", std::process::id()));
        for text in ["precious", "wgconv tuning 2\n[d]\na = direct\n"] {
            fs::write(&path, text).unwrap();
            let message = add(&path, "device", &Section::new()).unwrap_err();
            assert!(message.contains("wgconv-tune") && message.contains("line 1"), "{message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(beside(&path, "lock")).unwrap();
        fs::remove_file(path).unwrap();
    }
}
