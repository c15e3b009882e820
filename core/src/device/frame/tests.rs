use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use std::vec::Vec;
extern crate std;

use super::*;
use crate::device::link::{Request, ToDevice};
use crate::party::PartyId;

fn relay(id: u32, bytes: &[u8]) -> ToDevice<'_> {
    ToDevice { id, request: Request::Relay { from: PartyId::new(3).unwrap(), bytes } }
}

fn line(value: &ToDevice<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    encode_to(value, |piece| line.extend_from_slice(piece));
    line
}

/// What the decoder says to all of `bytes`, in slices of `step` bytes.
fn all(decoder: &mut Decoder, bytes: &[u8], step: usize) -> Vec<Result<Vec<u8>, FrameFault>> {
    let mut said = Vec::new();
    for mut slice in bytes.chunks(step) {
        while !slice.is_empty() {
            if let Some(frame) = decoder.feed(&mut slice) {
                said.push(frame.map(|content| content.to_vec()));
            }
        }
    }
    said
}

#[test]
fn frames_of_every_length_survive_byte_by_byte_and_in_slices() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    for length in (0..600).chain(MAX_FRAME - 40..MAX_FRAME - 12) {
        for zeros in [false, true] {
            let mut bytes = std::vec![0xff; length];
            if zeros {
                rng.fill_bytes(&mut bytes);
                bytes.iter_mut().for_each(|byte| *byte &= 3);
            }
            let value = relay(length as u32, &bytes);
            let line = line(&value);
            assert!(line.len() <= MAX_ENCODED && !line[..line.len() - 1].contains(&0));
            let mut buffer = [0; MAX_ENCODED];
            assert_eq!(encode(&value, &mut buffer).unwrap(), line);
            assert_eq!(encode(&value, &mut buffer[..line.len() - 1]), Err(NoRoom));
            let mut decoder = Decoder::new();
            for step in [1, 7, line.len()] {
                let said = all(&mut decoder, &line, step);
                let [Ok(content)] = &said[..] else { panic!("{said:?}") };
                assert_eq!(decode::<ToDevice<'_>>(content).as_ref(), Ok(&value));
            }
            let mut last = None;
            for byte in &line {
                last = decoder.push(*byte).map(|frame| frame.map(|content| content.to_vec()));
            }
            assert_eq!(decode(&last.unwrap().unwrap()).as_ref(), Ok(&value));
        }
    }
}

#[test]
fn the_stuffing_is_that_of_the_library_and_the_checksum_that_of_the_catalogue() {
    let value = relay(5, &[0; 300]);
    let mut plain = [0; 400];
    let plain = wire::encode(&value, &mut plain).unwrap().to_vec();
    // The check value of the catalogue: CRC-32/ISO-HDLC.
    assert_eq!(CRC.checksum(b"123456789"), 0xcbf4_3926);
    let with = [&plain[..], &CRC.checksum(&plain).to_le_bytes()].concat();
    let mut stuffed = [0; 500];
    let length = cobs::encode(&with, &mut stuffed);
    assert_eq!(line(&value), [&stuffed[..length], &[0]].concat());
}

#[test]
fn every_fault_has_its_name_and_the_next_frame_is_read() {
    let good = line(&relay(1, b"hello"));
    let mut decoder = Decoder::new();
    let mut faults = |bytes: &[u8]| {
        let mut said = all(&mut decoder, &[bytes, &good].concat(), 11);
        assert!(said.pop().unwrap().is_ok());
        said
    };
    assert_eq!(faults(&[0, 0, 0]), []);
    // Cut off, so that a code promises more than comes.
    assert_eq!(faults(&[&good[..good.len() - 3], &[0]].concat()), [Err(FrameFault::Stuffing)]);
    assert_eq!(faults(&[9, 1, 0]), [Err(FrameFault::Stuffing)]);
    // Too short for a checksum, or a wrong one.
    assert_eq!(faults(&[1, 0]), [Err(FrameFault::Checksum)]);
    let mut wrong = good.clone();
    wrong[4] ^= 0x40;
    assert_eq!(faults(&wrong), [Err(FrameFault::Checksum)]);
    // However much it is, it is one fault.
    let long = [&std::vec![1; 3 * MAX_FRAME][..], &[0]].concat();
    assert_eq!(faults(&long), [Err(FrameFault::TooLong)]);
    let long = line(&relay(1, &[7; MAX_FRAME]));
    assert_eq!(faults(&long), [Err(FrameFault::TooLong)]);
}

#[test]
fn a_value_has_one_encoding() {
    let mut decoder = Decoder::new();
    // The id 1 with padding, then `Lock`.
    let bytes = [0x81, 0x00, 0x03];
    let with = [&bytes[..], &CRC.checksum(&bytes).to_le_bytes()].concat();
    let mut stuffed = [0; 20];
    let length = cobs::encode(&with, &mut stuffed);
    let said = all(&mut decoder, &[&stuffed[..length], &[0]].concat(), 3);
    let [Ok(content)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(decode::<ToDevice<'_>>(content), Err(FrameFault::Malformed));
    let trailing = [1, 3, 0];
    assert_eq!(decode::<ToDevice<'_>>(&trailing), Err(FrameFault::Malformed));
    assert_eq!(decode(&trailing[..2]), Ok(ToDevice { id: 1, request: Request::Lock }));
}

#[test]
fn arbitrary_bytes_never_panic_and_a_good_frame_after_them_is_read() {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let (mut decoder, good) = (Decoder::new(), line(&relay(9, &[0, 1, 2])));
    for round in 0..20_000u32 {
        let mut bytes = std::vec![0; (rng.next_u32() % 80) as usize];
        rng.fill_bytes(&mut bytes);
        if round % 3 == 0 {
            bytes.iter_mut().for_each(|byte| *byte &= 3);
        }
        bytes.push(0);
        bytes.extend(&good);
        let said = all(&mut decoder, &bytes, 13);
        let Some(Ok(content)) = said.last() else { panic!("{bytes:?}") };
        assert_eq!(decode(content), Ok(relay(9, &[0, 1, 2])));
    }
}

#[test]
fn what_a_frame_left_is_wiped() {
    let mut decoder = Decoder::new();
    all(&mut decoder, &line(&relay(9, &[0x5a; 64])), 64);
    assert!(decoder.content.contains(&0x5a));
    decoder.wipe();
    assert!(!decoder.content.contains(&0x5a));
}

#[test]
fn requests_are_read_as_serde_reads_them() {
    use crate::device::link::{Request, ToDevice};
    crate::wire::agree!(Request<'_>, ToDevice<'_>);
}

#[test]
fn answers_are_written_as_serde_writes_them() {
    use crate::device::link::{Answer, Event, FrameFault, FromDevice, Hello, Refused, Status};
    use crate::party::PartyId;
    crate::wire::written!(FromDevice<'_>, Answer<'_>, Hello, Status, Event, Refused, FrameFault);
    let value =
        FromDevice { id: 3, answer: Answer::Refused(Refused::Later(PartyId::new(5).unwrap())) };
    let (mut old, mut new) = (std::vec::Vec::new(), std::vec::Vec::new());
    encode_to(&value, |bytes| old.extend_from_slice(bytes));
    write_to(&value, &mut |bytes| new.extend_from_slice(bytes));
    assert_eq!(old, new);
}
