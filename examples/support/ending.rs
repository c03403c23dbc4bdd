//! How a program ends.

use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Success, or the error as a line and failure. Whoever closes the output early, as `head` does, has seen enough: that is not an error.
pub fn of(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
