//! What programs write: files that are there whole or not at all, and lines on standard output that are not lost in silence.

#![allow(dead_code, reason = "each program uses a part of it")]

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, ErrorKind, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use image::{EncodableLayout, ImageBuffer, ImageFormat, PixelWithColorType};

/// Writes a file beside and renames it, so that a full disk leaves the old file or none, and no part of the new one.
///
/// # Errors
/// A text that begins with the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let written = match place(path) {
        Place::Device => OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes)),
        Place::File { path, temporary } => {
            let file = File::create(&temporary);
            let whole = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
            whole.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
                // That it cannot be removed either is not worse.
                let _ = fs::remove_file(&temporary);
            })
        }
    };
    written.map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// Writes a PNG file.
///
/// # Errors
/// As [`write`].
pub fn png<P, C>(path: &Path, picture: &ImageBuffer<P, C>) -> Result<(), String>
where
    P: PixelWithColorType,
    [P::Subpixel]: EncodableLayout,
    C: Deref<Target = [P::Subpixel]>,
{
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(|error| format!("{}: {error}", path.display()))?;
    write(path, &bytes.into_inner())
}

/// A file that a program is to write, with the option that names it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    option: &'a str,
    path: &'a Path,
    is_picture: bool,
}

impl<'a> Target<'a> {
    pub fn new(option: &'a str, path: &'a Path) -> Self {
        Self { option, path, is_picture: false }
    }

    /// One for [`png`].
    pub fn png(option: &'a str, path: &'a Path) -> Self {
        Self { is_picture: true, ..Self::new(option, path) }
    }
}

/// [`distinct`], and then [`places`].
///
/// # Errors
/// Theirs.
pub fn prepare(targets: &[Target], inputs: &[&Path]) -> Result<(), String> {
    distinct(targets, inputs)?;
    places(targets)
}

/// Whether every file that is to be written is one that is not read, and not written by another option too, and has no name of
/// another kind of picture. Paths that lead to one file are one.
///
/// # Errors
/// A text that begins with the option.
pub fn distinct(targets: &[Target], inputs: &[&Path]) -> Result<(), String> {
    let read: Vec<PathBuf> = inputs.iter().map(|path| real(path)).collect();
    for (number, Target { option, path, is_picture }) in targets.iter().enumerate() {
        if *is_picture && ImageFormat::from_path(path).is_ok_and(|format| format != ImageFormat::Png) {
            return Err(format!("{option}: {} is written as PNG: give it the ending .png", path.display()));
        }
        // What is no file, such as the null device, may be written by several.
        let Place::File { .. } = place(path) else { continue };
        let (real_path, name) = (real(path), path.display());
        if read.contains(&real_path) {
            return Err(format!("{option}: {name} is read as well"));
        }
        if let Some(other) = targets[..number].iter().find(|other| real(other.path) == real_path) {
            return Err(format!("{option}: {name} is written by {} too", other.option));
        }
    }
    Ok(())
}

/// [`check`] of each.
///
/// # Errors
/// As [`write`].
pub fn places(targets: &[Target]) -> Result<(), String> {
    targets.iter().try_for_each(|target| check(target.path))
}

/// A path without links and dots, also where there is no file yet.
fn real(path: &Path) -> PathBuf {
    let folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
    };
    fs::canonicalize(path).ok().or_else(folder).unwrap_or_else(|| path.into())
}

/// Whether [`write`] will find a place there, before the work is done whose result is to be written.
///
/// # Errors
/// As [`write`].
fn check(path: &Path) -> Result<(), String> {
    let tried = match place(path) {
        Place::Device => OpenOptions::new().write(true).open(path).map(drop),
        Place::File { temporary, .. } => File::create(&temporary).and_then(|_| fs::remove_file(&temporary)),
    };
    let tried = if path.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { tried };
    tried.map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// Where bytes for a path go.
enum Place {
    /// Into something that is no file and is not replaced by one.
    Device,
    File {
        path: PathBuf,
        temporary: PathBuf,
    },
}

fn place(path: &Path) -> Place {
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    if fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Place::Device;
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    Place::File { temporary: path.with_file_name(name), path }
}

/// Prints a line. Whoever closes the output early wants no more of it; any other failure ends the program.
pub fn say(text: impl Display) {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}
