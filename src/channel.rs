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

/// How much of an answer is read at once: nearly all are shorter, and a short one costs one system call.
const AT_ONCE: usize = 4096;

/// Sends a message and waits for the one that answers it; `None` at the end of the stream. Until then it
/// touches nothing but its stack: the other side may share its memory, and it is its turn.
///
/// # Errors
/// Those of sending and of receiving, and more than one answer.
pub fn exchange<T: DeserializeOwned>(
    with: &mut (impl Read + Write),
    message: &impl Serialize,
) -> io::Result<Option<T>> {
    let bytes = encode(message)?;
    with.write_all(&bytes)?;
    let answer = receive_alone(with);
    if !matches!(answer, Ok(Some(_))) {
        // Whoever ended the stream may still be running.
        std::mem::forget(bytes);
    }
    answer
}

/// Waits for a message from somebody who says nothing more until it is answered; `None` at the end of the stream. Until
/// it has come this touches nothing but its stack, as [`exchange`].
///
/// # Errors
/// Those of receiving, and more than one message.
pub fn receive_alone<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut start = [0; AT_ONCE];
    match read_start(from, &mut start)? {
        0 => Ok(None),
        read => {
            let (length, begun) = start[..read].split_at(4);
            let length = [length[0], length[1], length[2], length[3]];
            body(length, begun, from).map(Some)
        }
    }
}

/// Reads the length of a message, and what has come with it; 0 at the end of the stream.
fn read_start(from: &mut impl Read, start: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < 4 {
        match from.read(&mut start[read..]) {
            Ok(0) => return Ok(0),
            Ok(length) => read += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Waits for one message; `None` at the end of the stream.
///
/// # Errors
/// Those of reading, a message that is too long, cut off or not of this type.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => body(length, &[], from).map(Some),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The rest of a message of which this much was read.
fn body<T: DeserializeOwned>(length: [u8; 4], begun: &[u8], from: &mut impl Read) -> io::Result<T> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(invalid(format!("a message of {length} bytes")));
    }
    if begun.len() > length {
        return Err(invalid("more than one message".to_owned()));
    }
    if begun.len() == length {
        return Ok(serde_json::from_slice(begun)?);
    }
    let mut bytes = vec![0; length];
    bytes[..begun.len()].copy_from_slice(begun);
    from.read_exact(&mut bytes[begun.len()..])?;
    Ok(serde_json::from_slice(&bytes)?)
}
