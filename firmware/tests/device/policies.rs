//! Policies and requests.

use ed25519_dalek::SigningKey;
use quorate_core::derive::Derivation;
use quorate_core::policy::condition::kind;
use quorate_core::policy::ethereum::{
    Address, UNSIGNED_OVERHEAD, UnsignedFields, unsigned_transaction,
};
use quorate_core::policy::form::Writer;
use quorate_core::policy::{Amount, FORM, Kinds};
use quorate_core::request::{KeyId, NetworkId, Payload, SignRequest};

use super::node::NETWORK;
use super::world::NOW;

/// Whom the policy lets be paid.
pub const TO: [u8; 20] = [0x70; 20];
pub const ETHER: u128 = 1_000_000_000_000_000_000;

fn written(
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), quorate_core::policy::form::NoRoom>,
) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.finish().to_vec()
}

pub fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    written(|writer| {
        writer.raw(&[kind::ALL, parts.len() as u8])?;
        writer.nested(|writer| parts.iter().try_for_each(|part| writer.raw(part)))
    })
}

pub fn to(account: [u8; 20]) -> Vec<u8> {
    written(|writer| {
        writer.u8(kind::RECIPIENT)?;
        writer.list(&[account])
    })
}

pub fn at_most(wei: u128) -> Vec<u8> {
    [&[kind::VALUE, 0][..], &Amount::from_u128(wei).to_be_bytes()].concat()
}

pub fn before(time: u64) -> Vec<u8> {
    [&[kind::TIME][..], &[0; 8], &time.to_be_bytes()].concat()
}

pub fn confirm() -> Vec<u8> {
    vec![kind::CONFIRM]
}

/// So much value of a rule in an hour.
pub fn hourly(wei: u128) -> Vec<u8> {
    [&[0, 2][..], &3600u32.to_be_bytes(), &Amount::from_u128(wei).to_be_bytes(), &[0]].concat()
}

pub fn rule(name: &str, kinds: Kinds, limits: &[Vec<u8>], condition: &[u8]) -> Vec<u8> {
    written(|writer| {
        writer.nested(|writer| {
            writer.short(name.as_bytes())?;
            writer.u16(kinds.bits())?;
            writer.u8(limits.len() as u8)?;
            limits.iter().try_for_each(|limit| writer.raw(limit))?;
            writer.raw(condition)
        })
    })
}

pub fn policy(rules: &[Vec<u8>]) -> Vec<u8> {
    [&[FORM, 0, rules.len() as u8][..], &rules.concat()].concat()
}

/// The first rule of [`payments`] alone.
pub fn small_payments() -> Vec<u8> {
    policy(&[rule("small", Kinds::PLAIN, &[hourly(10 * ETHER)], &all(&[to(TO), at_most(ETHER)]))])
}

/// Payments to one account: small ones at once, larger ones with the button, 10 ETH in an hour.
pub fn payments() -> Vec<u8> {
    policy(&[
        rule("small", Kinds::PLAIN, &[hourly(10 * ETHER)], &all(&[to(TO), at_most(ETHER)])),
        rule(
            "large",
            Kinds::PLAIN.with(Kinds::MESSAGE),
            &[],
            &all(&[before(NOW + 86_400), confirm()]),
        ),
    ])
}

pub fn transfer(receiver: [u8; 20], value: u128, data: &[u8]) -> Vec<u8> {
    let fields = UnsignedFields {
        chain_id: 1,
        nonce: 7,
        max_priority_fee_per_gas: Amount::ZERO,
        max_fee_per_gas: Amount::from_u128(2_000_000_000),
        gas_limit: 21_000,
        to: Some(Address(receiver)),
        value: Amount::from_u128(value),
        data,
    };
    let mut buffer = vec![0; UNSIGNED_OVERHEAD + data.len()];
    unsigned_transaction(&fields, &mut buffer).unwrap().to_vec()
}

pub fn request(key: u8, payload: Payload<'_>, nonce: u8) -> Vec<u8> {
    let request = SignRequest {
        network: NetworkId(NETWORK),
        key: KeyId([key; 16]),
        derivation: Derivation::Root,
        payload,
        label: "rent",
        expires: NOW + 3600,
        nonce: [nonce; 16],
    };
    let mut buffer = [0; 4096];
    request.sign(&SigningKey::from_bytes(&[0x77; 32]), &mut buffer).unwrap().to_vec()
}

pub fn payment(key: u8, receiver: [u8; 20], value: u128, nonce: u8) -> Vec<u8> {
    request(key, Payload::EthereumTransaction(&transfer(receiver, value, &[])), nonce)
}
