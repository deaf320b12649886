//! Messages over a line that is slow and may say other things too: magic, length, checksum, and JSON
//! that is compressed as one stream.
//!
//! A serial line moves a byte at a time, and what crosses it is much alike: one deflate stream, flushed
//! after each message, makes a tenth of it. Out of User-Mode Linux alone a frame goes at one go, and is
//! not compressed. A frame is numbered, so that one that got lost is noticed and not only the one that
//! cannot be decompressed after it.

use std::io;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a frame begins with: no text has it.
const MAGIC: [u8; 4] = [0xF5, b'n', b's', 0x1C];
/// Magic, number, length and checksum, each of four bytes.
const HEADER: usize = 16;
/// The longest frame, as it is sent.
const LONGEST: usize = 32 << 20;
/// The longest message, decompressed.
const MESSAGE: usize = crate::channel::MAX_MESSAGE;
/// How much that belongs to no frame is passed over before the line counts as broken.
const NOISE: usize = 4 << 10;

/// Makes frames of messages.
#[derive(Debug)]
pub struct Encoder {
    stream: Compress,
    number: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { stream: Compress::new(Compression::default(), false), number: 0 }
    }
}

impl Encoder {
    /// One that compresses nothing, for a line that takes a frame at one go. What it makes is a deflate stream
    /// too, of blocks that are stored.
    pub fn plain() -> Self {
        Self { stream: Compress::new(Compression::none(), false), number: 0 }
    }

    /// The bytes of one message.
    ///
    /// # Errors
    /// A message that is too long.
    pub fn encode<T: Serialize>(&mut self, message: &T) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(message)?;
        if json.len() > MESSAGE {
            return Err(wrong(format!("a message of {} bytes", json.len())));
        }
        let mut frame = vec![0; HEADER];
        let mut rest = &json[..];
        loop {
            frame.reserve(rest.len() / 4 + 64);
            let before = self.stream.total_in();
            let status = self.stream.compress_vec(rest, &mut frame, FlushCompress::Sync);
            if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                return Err(wrong(format!("a message cannot be compressed: {status:?}")));
            }
            rest = &rest[(self.stream.total_in() - before) as usize..];
            // Room that is left over says that the flush is whole.
            if rest.is_empty() && frame.len() < frame.capacity() {
                break;
            }
        }
        let length = frame.len() - HEADER;
        if length > LONGEST {
            return Err(wrong(format!("a frame of {length} bytes")));
        }
        let checksum = checksum(self.number, &frame[HEADER..]);
        frame[..4].copy_from_slice(&MAGIC);
        frame[4..8].copy_from_slice(&self.number.to_le_bytes());
        frame[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        frame[12..16].copy_from_slice(&checksum.to_le_bytes());
        self.number = self.number.wrapping_add(1);
        Ok(frame)
    }
}

/// Takes frames out of what comes over the line.
#[derive(Debug)]
pub struct Decoder {
    stream: Decompress,
    number: u32,
    /// What came and was not yet understood.
    buffer: Vec<u8>,
    /// How much was passed over since the last frame.
    noise: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { stream: Decompress::new(false), number: 0, buffer: Vec::new(), noise: 0 }
    }
}

impl Decoder {
    /// Takes in what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if it is whole. What stands before a frame is passed over.
    ///
    /// # Errors
    /// A frame that is damaged or missing, too much that is no frame, and a message of another type.
    /// Nothing that comes after it can be understood.
    pub fn decode<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        self.skip_noise()?;
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (number, length, sum) = (word(4), word(8) as usize, word(12));
        if length > LONGEST {
            return Err(wrong(format!("a frame that says it has {length} bytes")));
        }
        let Some(payload) = self.buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        if checksum(number, payload) != sum {
            return Err(wrong("a frame whose checksum is wrong".to_owned()));
        }
        if number != self.number {
            return Err(wrong(format!("frame {number} where {} was expected", self.number)));
        }
        let json = decompress(&mut self.stream, payload)?;
        self.buffer.drain(..HEADER + length);
        self.number = self.number.wrapping_add(1);
        self.noise = 0;
        Ok(Some(serde_json::from_slice(&json)?))
    }

    /// Passes over what is not the beginning of a frame.
    fn skip_noise(&mut self) -> io::Result<()> {
        let at = |window: &[u8]| MAGIC.starts_with(&window[..window.len().min(MAGIC.len())]);
        let skip = (0..self.buffer.len()).find(|start| at(&self.buffer[*start..]));
        let skip = skip.unwrap_or(self.buffer.len());
        self.noise += skip;
        let told = self.buffer.drain(..skip).take(60).collect::<Vec<u8>>();
        if self.noise > NOISE {
            let told = String::from_utf8_lossy(&told).escape_debug().to_string();
            return Err(wrong(format!("{} bytes that are no frame, as in `{told}`", self.noise)));
        }
        Ok(())
    }
}

fn decompress(stream: &mut Decompress, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    let mut rest = payload;
    loop {
        json.reserve(4 * rest.len() + 256);
        let before = stream.total_in();
        let status = stream.decompress_vec(rest, &mut json, FlushDecompress::Sync);
        if !matches!(status, Ok(Status::Ok | Status::BufError)) {
            return Err(wrong(format!("a frame cannot be decompressed: {status:?}")));
        }
        rest = &rest[(stream.total_in() - before) as usize..];
        if json.len() > MESSAGE {
            return Err(wrong(format!("a message of more than {MESSAGE} bytes")));
        }
        if rest.is_empty() && json.len() < json.capacity() {
            return Ok(json);
        }
    }
}

fn checksum(number: u32, payload: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(&number.to_le_bytes());
    crc.update(payload);
    crc.sum()
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: usize) -> String {
        (0..number).map(|n| format!("{} and ", n * 7919 % 1013)).collect()
    }

    #[test]
    fn messages_of_every_length_come_back_whatever_the_pieces() {
        for mut encoder in [Encoder::default(), Encoder::plain()] {
            let mut decoder = Decoder::default();
            for length in [0, 1, 2, 50, 51, 1000, 40_000, 3] {
                let frame = encoder.encode(&text(length)).unwrap();
                for piece in frame.chunks(777) {
                    assert!(matches!(decoder.decode::<String>(), Ok(None)));
                    decoder.feed(piece);
                }
                assert_eq!(decoder.decode::<String>().unwrap(), Some(text(length)));
            }
        }
    }

    #[test]
    fn what_cannot_be_compressed_comes_back_too() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut state = 1_u64;
        let noise: Vec<u64> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state >> 11
            })
            .collect();
        for _ in 0..3 {
            decoder.feed(&encoder.encode(&noise).unwrap());
            assert_eq!(decoder.decode::<Vec<u64>>().unwrap().as_ref(), Some(&noise));
        }
    }

    #[test]
    fn what_is_alike_costs_little_the_second_time() {
        let mut encoder = Encoder::default();
        let first = encoder.encode(&text(500)).unwrap().len();
        let second = encoder.encode(&text(500)).unwrap().len();
        assert!(second * 5 < first, "{first} then {second}");
    }

    #[test]
    fn what_a_kernel_prints_between_frames_is_passed_over() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        decoder.feed(b"[    0.1] hello \xF5\n");
        decoder.feed(&encoder.encode(&1).unwrap());
        decoder.feed(b"[    0.2] random: crng init done\n\xF5n");
        assert_eq!(decoder.decode::<i32>().unwrap(), Some(1));
        assert_eq!(decoder.decode::<i32>().unwrap(), None);
        decoder.feed(&encoder.encode(&2).unwrap());
        assert_eq!(decoder.decode::<i32>().unwrap(), Some(2));
    }

    #[test]
    fn damage_is_told_and_never_believed() {
        let frame = Encoder::default().encode(&text(100)).unwrap();
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x20;
            let mut decoder = Decoder::default();
            decoder.feed(&damaged);
            // In the magic it is noise, in a length that grew the rest is waited for.
            assert!(!matches!(decoder.decode::<String>(), Ok(Some(_))), "byte {at}");
        }
    }

    #[test]
    fn a_frame_that_got_lost_is_missed() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        encoder.encode(&1).unwrap();
        decoder.feed(&encoder.encode(&2).unwrap());
        assert!(decoder.decode::<i32>().unwrap_err().to_string().contains("frame 1 where 0"));
    }

    #[test]
    fn a_line_that_only_babbles_is_given_up() {
        let mut decoder = Decoder::default();
        decoder.feed(&vec![b'x'; NOISE + 1]);
        let error = decoder.decode::<i32>().unwrap_err().to_string();
        assert!(error.contains("bytes that are no frame, as in `xxx"), "{error}");
    }
}
