//! Frames that are none, and what a chip must say to each. They are made without the code that reads them.

use quorate_core::device::frame::{Decoder, MAX_ENCODED};
use quorate_core::device::link::{FrameFault, Refused, Request, ToDevice};
use quorate_core::wire;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore as _;

/// CRC-32 as Ethernet has it, bit by bit.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
        }
    }
    (!sum).to_le_bytes()
}

/// COBS, and the zero byte at the end.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in content.split(|byte| *byte == 0) {
        assert!(run.len() < 254, "short frames only");
        bytes.push(run.len() as u8 + 1);
        bytes.extend_from_slice(run);
    }
    bytes.push(0);
    bytes
}

/// A value with what comes before its checksum done to it.
fn framed(id: u32, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut buffer = [0; 200];
    let request = ToDevice { id, request: Request::Status };
    let mut content = wire::encode(&request, &mut buffer).unwrap().to_vec();
    change(&mut content);
    content.extend_from_slice(&checksum(&content));
    content
}

/// What the reader of frames makes of it here, where what it is about is only that the chip agrees.
fn fault(bytes: &[u8]) -> Option<FrameFault> {
    let mut decoder = Decoder::new();
    bytes.iter().find_map(|byte| decoder.push(*byte).map(|read| read.err()))?
}

/// Bytes that are no request in their turn, and the id and the words that the chip answers with.
pub(super) fn spoil(rng: &mut ChaCha20Rng, last: u32) -> (Vec<u8>, u32, Refused) {
    let below = |rng: &mut ChaCha20Rng, end: usize| rng.next_u32() as usize % end;
    let next = last + 1;
    loop {
        let (bytes, expected) = match rng.next_u32() % 32 {
            // Garbage.
            0..8 => {
                let mut bytes = vec![0; 1 + below(rng, 300)];
                rng.fill_bytes(&mut bytes);
                bytes.iter_mut().for_each(|byte| *byte = (*byte).max(1));
                bytes.push(0);
                (bytes.clone(), fault(&bytes))
            }
            // Cut short.
            8..14 => {
                let mut bytes = stuffed(&framed(next, |_| {}));
                bytes.truncate(1 + below(rng, bytes.len() - 2));
                bytes.push(0);
                (bytes.clone(), fault(&bytes))
            }
            // One bit.
            14..20 => {
                let mut content = framed(next, |_| {});
                let at = below(rng, content.len());
                content[at] ^= 1 << below(rng, 8);
                (stuffed(&content), Some(FrameFault::Checksum))
            }
            // Too long by a byte, or by many: the frame's own room is its limit.
            20 => {
                let mut bytes = vec![1; MAX_ENCODED + 1 + below(rng, 200)];
                bytes.push(0);
                (bytes, Some(FrameFault::TooLong))
            }
            // No such request, or more than one.
            21..26 => {
                let none = rng.next_u32().is_multiple_of(2);
                let spoil = |content: &mut Vec<u8>| match none {
                    true => *content.last_mut().unwrap() = 100,
                    false => content.push(0),
                };
                (stuffed(&framed(next, spoil)), Some(FrameFault::Malformed))
            }
            // Again, or overtaken.
            _ => {
                let id = below(rng, last as usize + 1) as u32;
                return (stuffed(&framed(id, |_| {})), id, Refused::OldId { last });
            }
        };
        // Where the bytes are a frame by chance, they are no test.
        if let Some(fault) = expected {
            return (bytes, 0, Refused::Frame(fault));
        }
    }
}
