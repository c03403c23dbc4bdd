//! Tensor data in files beside the model. A path that leaves the model's folder is refused, through links too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::proto::Entry;
use crate::error::{Error, Result};

/// How often tensors may read all of a file: some share their data, but each takes memory of its own.
const MOST_READS: u64 = 4;

/// Where external data may be.
#[derive(Debug)]
pub(super) enum Folder {
    /// Nowhere: the model came as bytes.
    None,
    /// In this folder, and in those within it; with the bytes that were read of each file.
    At(PathBuf, RefCell<HashMap<PathBuf, u64>>),
}

impl Folder {
    /// This folder, and those within it.
    pub fn at(path: &Path) -> Self {
        Folder::At(path.into(), RefCell::default())
    }

    /// The `bytes` bytes that the entries `location`, `offset` and `length` of a tensor describe.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where they are not there, before memory is taken for them.
    pub fn read(&self, entries: &[Entry], bytes: usize) -> Result<Vec<u8>> {
        let about = |message: String| Error::invalid("external_data", message);
        let entry = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let location = entry("location").ok_or_else(|| about("has no location".into()))?;
        let Folder::At(folder, reads) = self else {
            return Err(about(format!("is in the file `{location}`, but the model was given as bytes: use onnx::load")));
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| about(format!("has the {key} `{text}`, which is no number"))),
        };
        let offset = number("offset")?.unwrap_or(0);
        if let Some(length) = number("length")?
            && length != bytes as u64
        {
            return Err(about(format!("has length {length}, but shape and type need {bytes} bytes")));
        }
        let path = inside(folder, location)?;
        let failed = |error: std::io::Error| about(format!("in the file `{location}` cannot be read: {error}"));
        // Asked before it is opened: opening a pipe would wait for its writer.
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(about(format!("is in `{location}`, which is no regular file")));
        }
        let mut file = File::open(&path).map_err(failed)?;
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > metadata.len()) {
            let size = metadata.len();
            return Err(about(format!("is {bytes} bytes from {offset} on of the file `{location}`, which has {size} bytes")));
        }
        let mut reads = reads.borrow_mut();
        let read = reads.entry(path).or_default();
        *read = read.saturating_add(bytes as u64);
        if *read > metadata.len().saturating_mul(MOST_READS) {
            return Err(about(format!("is in the file `{location}`, which other tensors read {MOST_READS} times already")));
        }
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut data = vec![0; bytes];
        file.read_exact(&mut data).map_err(failed)?;
        Ok(data)
    }
}

/// The path of a file within the folder.
fn inside(folder: &Path, location: &str) -> Result<PathBuf> {
    let leaves = || Error::invalid("external_data", format!("is in `{location}`, which is outside of the model's folder"));
    let relative = Path::new(location);
    // A backslash and a colon are names here, but a drive or another folder elsewhere: a model means the same everywhere.
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if location.is_empty() || location.contains(['\\', ':', '\0']) || !plain {
        return Err(leaves());
    }
    let resolve = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Error::invalid("external_data", format!("is in `{location}`, which cannot be opened: {error}")))
    };
    let path = resolve(&folder.join(relative))?;
    if path.starts_with(resolve(folder)?) { Ok(path) } else { Err(leaves()) }
}
