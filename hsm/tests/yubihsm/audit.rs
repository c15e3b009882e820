//! The device's audit log: drained in two steps, its chain walked, its fullness survived.

use quorate_hsm::yubihsm::{AuditDrain, Finding, LogEntry, Password, Provisioned};
use quorate_hsm::{HsmError, KeyProtector, Profile, open, seal};
use yubihsm::AuditOption;

use crate::emulator::device::DEFAULT_PASSWORD;
use crate::emulator::log::CAPACITY;
use crate::emulator::{Fault, message};
use crate::rights::client;
use crate::support::{AUDITOR, fresh, open as open_kek};
use crate::{context, works};

fn drain(made: &Provisioned) -> AuditDrain {
    AuditDrain::open(&made.config, 0x21, &Password::new(AUDITOR)).unwrap()
}

fn numbers(entries: &[LogEntry]) -> Vec<u16> {
    entries.iter().map(|entry| entry.number).collect()
}

#[test]
fn a_drained_log_goes_on_where_it_was() {
    let (_emulator, made) = fresh(Profile::WrapData);
    let (drain, kek) = (drain(&made), open_kek(&made).unwrap());
    let first = drain.read(None).unwrap();
    assert_eq!(first.findings, []);
    assert!(first.entries.len() > 10);
    drain.confirm(&first).unwrap();
    let mut last = first.entries.last().cloned();
    let mut seen = 0;
    // More than the log holds in all.
    for _ in 0..40 {
        works(&kek).unwrap();
        let batch = drain.read(last.as_ref()).unwrap();
        assert_eq!(batch.findings, []);
        let next = last.unwrap().number + 1;
        let expected: Vec<u16> = (next..).take(batch.entries.len()).collect();
        assert_eq!(numbers(&batch.entries), expected);
        let wraps = batch.entries.iter().filter(|entry| {
            (entry.command, entry.session_key, entry.target_key, entry.result)
                == (message::WRAP_DATA, 0x20, 0x10, message::WRAP_DATA | message::ANSWER)
        });
        assert_eq!(wraps.count(), 1);
        drain.confirm(&batch).unwrap();
        seen += batch.entries.len();
        last = batch.entries.last().cloned();
    }
    assert!(seen > CAPACITY, "{seen}");
}

/// Between reading and storing, anything may happen: nothing is lost.
#[test]
fn what_is_not_confirmed_is_read_again() {
    let (emulator, made) = fresh(Profile::WrapData);
    let drain = drain(&made);
    let first = drain.read(None).unwrap();
    emulator.device().power_cycle();
    let again = drain.read(None).unwrap();
    assert_eq!(again.entries[..first.entries.len()], first.entries);
    assert!(again.entries.len() > first.entries.len());
    // Stored, but the confirmation is lost on the way, whether or not it was carried out.
    for fault in [Fault::CutBefore, Fault::CutAfter] {
        let batch = drain.read(None).unwrap();
        emulator.plan(move |_, _| fault.clone());
        let error = drain.confirm(&batch).unwrap_err();
        assert!(matches!(error, HsmError::Unavailable { .. }), "{error:?}");
        emulator.plan(|_, _| Fault::None);
        let next = drain.read(batch.entries.last()).unwrap();
        assert_eq!(next.findings, []);
        assert_eq!(next.entries[0].number, batch.entries.last().unwrap().number + 1);
    }
}

#[test]
fn a_full_log_stops_the_device_until_it_is_drained() {
    let (emulator, made) = fresh(Profile::WrapData);
    let (drain, kek) = (drain(&made), open_kek(&made).unwrap());
    let blob = seal(&kek, &context(), b"share").unwrap();
    client(&made, 1, DEFAULT_PASSWORD).set_force_audit_option(AuditOption::On).unwrap();
    let full = loop {
        if let Err(error) = open(&kek, &context(), &blob) {
            break error;
        }
    };
    assert_eq!(full, HsmError::LogFull { token: "YubiHSM 0007654321".into() });
    assert!(full.to_string().contains("drain the log"), "{full}");
    assert_eq!(kek.health().unwrap_err(), full);
    assert_eq!(open_kek(&made).unwrap_err(), full);
    // Boots and sessions are counted, then, and no more.
    emulator.device().power_cycle();
    let batch = drain.read(None).unwrap();
    assert_eq!(batch.entries.len(), CAPACITY);
    assert_eq!(batch.findings, [Finding::UnloggedBoots(1), Finding::UnloggedAuthentications(2)]);
    drain.confirm(&batch).unwrap();
    assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share");
    let next = drain.read(batch.entries.last()).unwrap();
    assert_eq!(next.findings, []);
}

#[test]
fn entries_that_were_overwritten_are_missed() {
    let (_emulator, made) = fresh(Profile::WrapData);
    let (drain, kek) = (drain(&made), open_kek(&made).unwrap());
    let first = drain.read(None).unwrap();
    drain.confirm(&first).unwrap();
    for _ in 0..40 {
        works(&kek).unwrap();
    }
    let last = first.entries.last().unwrap();
    let batch = drain.read(Some(last)).unwrap();
    let next = batch.entries[0].number;
    assert_eq!(batch.findings, [Finding::Gap { after: last.number, next }]);
    assert!(next > last.number + 1);
    assert!(batch.findings[0].to_string().contains(&format!("between {} and {next}", last.number)));
}

#[test]
fn an_altered_log_is_named_by_its_entry() {
    let (emulator, made) = fresh(Profile::WrapData);
    let drain = drain(&made);
    let number = {
        let mut device = emulator.device();
        let entry = &mut device.log.entries[5];
        // Somebody else did it.
        entry.session_key = 0x33;
        entry.number
    };
    let batch = drain.read(None).unwrap();
    assert_eq!(batch.findings, [Finding::BrokenChain { number }]);
    assert!(batch.findings[0].to_string().contains(&number.to_string()));

    // One that was taken out, the rest counted anew.
    let (emulator, made) = fresh(Profile::WrapData);
    let number = {
        let mut device = emulator.device();
        device.log.entries.remove(5);
        for entry in device.log.entries.iter_mut().skip(5) {
            entry.number -= 1;
        }
        device.log.entries[5].number
    };
    let batch = self::drain(&made).read(None).unwrap();
    assert!(batch.findings.contains(&Finding::BrokenChain { number }), "{:?}", batch.findings);
}

#[test]
fn a_factory_reset_shows() {
    let (emulator, made) = fresh(Profile::WrapData);
    let batch = drain(&made).read(None).unwrap();
    let last = batch.entries.last().cloned().unwrap();
    let auditor = emulator.device().objects[&(0x21, 2)].clone();
    emulator.device().factory_reset();
    emulator.device().objects.insert((0x21, 2), auditor);
    let batch = drain(&made).read(Some(&last)).unwrap();
    assert_eq!(batch.findings, [Finding::Reset { number: 1 }]);
}

#[test]
fn a_batch_of_another_device_confirms_nothing() {
    let (emulator, made) = fresh(Profile::WrapData);
    let batch = drain(&made).read(None).unwrap();
    let mut other = made.clone();
    other.config.serial = 5;
    emulator.device().serial = 5;
    let error = drain(&other).confirm(&batch).unwrap_err();
    assert!(error.to_string().contains("0007654321"), "{error}");
    assert_eq!(emulator.commands(message::SET_LOG_INDEX), 0);
}

/// The library stops reading at an entry of a command that it does not know, without a word.
#[test]
fn entries_that_the_library_cannot_read_are_counted() {
    let (emulator, made) = fresh(Profile::WrapData);
    let drain = drain(&made);
    let (known, all) = {
        let mut device = emulator.device();
        device.log.entries[5].command = 0x6e;
        (device.log.entries[4].number, device.log.entries.len())
    };
    let batch = drain.read(None).unwrap();
    // Reading was itself logged meanwhile.
    let count = all + 1 - 5;
    let finding = Finding::Unreadable { after: Some(known), count: count - 1 };
    assert_eq!(batch.findings, [finding]);
    assert_eq!(batch.entries.last().unwrap().number, known);
    // What was read may go; the rest stays, and is still missed.
    drain.confirm(&batch).unwrap();
    let next = drain.read(batch.entries.last()).unwrap();
    assert_eq!(next.entries, []);
    assert!(matches!(next.findings[..], [Finding::Unreadable { after: None, .. }]));
}

/// An answer whose MAC is right and that makes no sense to the library: said, and no session lost.
#[test]
fn an_answer_that_the_library_cannot_read_is_no_lost_session() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let sessions = emulator.seen(message::CREATE_SESSION);
    emulator.device().objects.get_mut(&(0x10, 4)).unwrap().algorithm = 0x3a;
    for _ in 0..20 {
        let error = open_kek(&made).unwrap_err();
        assert!(matches!(error, HsmError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains("client library"), "{error}");
    }
    assert_eq!(emulator.seen(message::CREATE_SESSION), sessions);
    emulator.device().objects.get_mut(&(0x10, 4)).unwrap().algorithm = 0x2a;
    works(&kek).unwrap();
}
