//! [`PipelineFile`]: what a driver keeps of compiled kernels, in a file of the caller's, so that the next process need not compile.
//!
//! Most desktop drivers have a cache of their own and gain nothing by this; those of phones have none. The driver is handed only what
//! it gave: wgpu checks that the data are of this very device and driver, and a checksum of ours that nothing has changed them since.

use std::path::{Path, PathBuf};

use crate::files;

/// What the file begins with; the checksum of the rest follows.
const MAGIC: &[u8; 16] = b"wgconv pipeline1";

/// Bytes of a file beyond which it is none of ours.
const LARGEST: u64 = 1 << 30;

/// A driver's cache and its file.
pub(super) struct PipelineFile {
    path: PathBuf,
    cache: wgpu::PipelineCache,
}

impl PipelineFile {
    /// The cache of a device, with what the file has. `None` where the device has none; a file that cannot be used is a warning.
    pub fn open(device: &wgpu::Device, path: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            log::info!("{}: the device has no pipeline caches", path.display());
            return None;
        }
        let data = read(path).unwrap_or_else(|message| {
            log::warn!("pipeline cache: not used: {message}");
            None
        });
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("wgconv"), data: data.as_deref(), fallback: true };
        // SAFETY: the data are what `get_data` gave, or the checksum would differ; wgpu compares device and driver.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { path: path.into(), cache })
    }

    pub fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// A message that begins with the path; then the file is as it was.
    pub fn save(&self) -> Result<(), String> {
        let at = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(at)?;
        }
        files::replace(&self.path, &pack(&data)).map_err(at)
    }
}

/// Magic, checksum, data.
fn pack(data: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &files::checksum(files::EMPTY, data).to_le_bytes(), data].concat()
}

/// The data of a file; none where there is no file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let Some(bytes) = files::read(path, LARGEST)? else { return Ok(None) };
    let at = |message: &str| format!("{}: {message}", path.display());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| at("is no pipeline cache of this version"))?;
    let (sum, data) = rest.split_first_chunk().ok_or_else(|| at("is cut short"))?;
    if u64::from_le_bytes(*sum) != files::checksum(files::EMPTY, data) {
        return Err(at("is damaged: its checksum differs"));
    }
    Ok(Some(data.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_not_handed_to_a_driver() {
        let path = std::env::temp_dir().join(format!("wgconv-pipelines-{}-damaged", std::process::id()));
        assert_eq!(read(&path), Ok(None));
        let whole = pack(b"what a driver gave");
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read(&path), Ok(Some(b"what a driver gave".to_vec())));
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            for damaged in [&flipped, &whole[..at].to_vec()] {
                std::fs::write(&path, damaged).unwrap();
                let message = read(&path).unwrap_err();
                assert!(message.starts_with(&path.display().to_string()), "{message}");
            }
        }
        std::fs::remove_file(path).unwrap();
    }
}
