//! Messages between the processes of nsharness: a length and JSON, over a socket.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message that is sent or accepted.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Sends one message.
///
/// # Errors
/// Those of writing, and a message that is too long.
pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// The bytes of one message, to be written as they are.
///
/// # Errors
/// A message that is too long.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes"),
        ));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Sends a message and waits for the one that comes next; `None` at the end of the stream. Until then it
/// touches nothing but its stack: the other side may share its memory, and it is its turn.
///
/// # Errors
/// Those of sending and of receiving.
pub fn exchange<T: DeserializeOwned>(
    with: &mut (impl Read + Write),
    message: &impl Serialize,
) -> io::Result<Option<T>> {
    let bytes = encode(message)?;
    with.write_all(&bytes)?;
    let mut length = [0; 4];
    if let Err(error) = with.read_exact(&mut length) {
        // Whoever ended the stream may still be running.
        std::mem::forget(bytes);
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(None),
            _ => Err(error),
        };
    }
    body(length, with).map(Some)
}

/// Waits for one message; `None` at the end of the stream.
///
/// # Errors
/// Those of reading, a message that is too long, cut off or not of this type.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => body(length, from).map(Some),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn body<T: DeserializeOwned>(length: [u8; 4], from: &mut impl Read) -> io::Result<T> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes"),
        ));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}
