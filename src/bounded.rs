//! Files that are read as a whole, and may be what somebody else put there: a pipe would be waited for, and a device or
//! what is too large would take all memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// Those of stat(2), open(2) and read(2); `InvalidData` where it is no regular file, or larger.
pub fn read(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // Looked at before it is opened: to open a pipe would wait for a writer.
    if !fs::metadata(file)?.is_file() {
        return Err(invalid("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let most = match most >> 20 {
            0 => format!("{} KiB", most >> 10),
            most => format!("{most} MiB"),
        };
        return Err(invalid(format!("larger than {most}")));
    }
    Ok(bytes)
}

/// The same of a file that is text.
///
/// # Errors
/// Those of [`read`]; `InvalidData` where it is not UTF-8.
pub fn read_text(file: &Path, most: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
    String::from_utf8(read(file, most)?).map_err(not_text)
}
