//! The files of tuning tables: where the user's is, reading it, and adding to it without losing what others add.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::table::{Parsed, Section, Table};
use crate::files::{self, beside, cache_folder};

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

/// Reads a table; one that is not there is empty.
///
/// # Errors
/// A message that begins with the path.
pub(super) fn read(path: &Path) -> Result<Parsed, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let Some(bytes) = files::read(path, LARGEST)? else { return Ok(Parsed::default()) };
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
    files::replace(path, table.to_string().as_bytes()).map_err(|error| at(&error))
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
