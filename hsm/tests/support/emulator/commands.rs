//! Commands inside a session: what each asks of the authentication key and of the object, and its work.

use ccm::aead::{Aead, KeyInit};
use ccm::consts::{U13, U16};
use hmac::Mac;
use p256::ecdsa::signature::hazmat::PrehashSigner;

use super::capability;
use super::device::{Device, Object, kind};
use super::message::{self, Fields, Refusal};
use super::random;

type Ccm = ccm::Ccm<aes::Aes256, U16, U13>;
type Outcome = Result<Vec<u8>, Refusal>;

const AES256_CCM_WRAP: u8 = 0x2a;
const EC_P256: u8 = 0x0c;
const HMAC_SHA256: u8 = 0x14;
const YUBICO_AES: u8 = 0x26;
/// What fits one message beside its fields.
const MAX_WRAP: usize = 1990;

/// Does the answer begin with the identifier of a new object?
pub(crate) fn makes(code: u8) -> bool {
    matches!(
        code,
        message::PUT_AUTHENTICATION_KEY
            | message::GENERATE_ASYMMETRIC_KEY
            | message::GENERATE_HMAC_KEY
            | message::GENERATE_WRAP_KEY
            | message::PUT_WRAP_KEY
    )
}

pub(crate) fn execute(device: &mut Device, key: u16, code: u8, data: &[u8]) -> Outcome {
    let caller = device.objects.get(&(key, kind::AUTHENTICATION_KEY)).cloned();
    let caller = caller.ok_or(Refusal::InvalidSession)?;
    let may = |capability: u64| {
        let has = caller.capabilities & capability == capability;
        if has { Ok(()) } else { Err(Refusal::InsufficientPermissions) }
    };
    let mut fields = Fields(data);
    match code {
        message::ECHO => Ok(data.to_vec()),
        message::CLOSE_SESSION => Ok(Vec::new()),
        message::DEVICE_INFO => Ok(device_info(device)),
        message::GET_STORAGE_INFO => {
            Ok([256u16, 200, 1024, 900, 126].map(u16::to_be_bytes).concat())
        }
        message::RESET_DEVICE => {
            may(capability::RESET_DEVICE)?;
            device.factory_reset();
            Ok(Vec::new())
        }
        message::GET_PSEUDO_RANDOM => {
            may(capability::GET_PSEUDO_RANDOM)?;
            let count = usize::from(fields.u16()?);
            Ok((0..count).map(|_| random::<1>()[0]).collect())
        }
        message::LIST_OBJECTS => list(device, &caller, fields),
        message::GET_OBJECT_INFO => {
            let (id, kind) = (fields.u16()?, fields.u8()?);
            fields.finish()?;
            Ok(info(id, kind, visible(device, &caller, id, kind)?))
        }
        message::GENERATE_WRAP_KEY => {
            may(capability::GENERATE_WRAP_KEY)?;
            make(device, &caller, fields, kind::WRAP_KEY, false)
        }
        message::PUT_WRAP_KEY => {
            may(capability::PUT_WRAP_KEY)?;
            make(device, &caller, fields, kind::WRAP_KEY, true)
        }
        message::GENERATE_HMAC_KEY => {
            may(capability::GENERATE_HMAC_KEY)?;
            make(device, &caller, fields, kind::HMAC_KEY, false)
        }
        message::GENERATE_ASYMMETRIC_KEY => {
            may(capability::GENERATE_ASYMMETRIC_KEY)?;
            make(device, &caller, fields, kind::ASYMMETRIC_KEY, false)
        }
        message::PUT_AUTHENTICATION_KEY => {
            may(capability::PUT_AUTHENTICATION_KEY)?;
            make(device, &caller, fields, kind::AUTHENTICATION_KEY, true)
        }
        message::DELETE_OBJECT => {
            let (id, kind) = (fields.u16()?, fields.u8()?);
            fields.finish()?;
            visible(device, &caller, id, kind)?;
            may(capability::delete(kind))?;
            device.objects.remove(&(id, kind));
            *device.sequences.entry((id, kind)).or_default() += 1;
            Ok(Vec::new())
        }
        message::EXPORT_WRAPPED => {
            may(capability::EXPORT_WRAPPED)?;
            let (wrap, kind, id) = (fields.u16()?, fields.u8()?, fields.u16()?);
            let wrap = visible(device, &caller, wrap, kind::WRAP_KEY)?;
            let object = visible(device, &caller, id, kind)?;
            let may = wrap.capabilities & capability::EXPORT_WRAPPED != 0
                && object.capabilities & capability::EXPORTABLE_UNDER_WRAP != 0;
            // Nobody here has the right, so the export itself is not built.
            Err(if may { Refusal::InvalidCommand } else { Refusal::InsufficientPermissions })
        }
        message::GET_OPTION | message::SET_OPTION => option(device, code, fields, may),
        message::GET_LOG_ENTRIES => {
            may(capability::GET_LOG_ENTRIES)?;
            Ok(device.log.read())
        }
        message::SET_LOG_INDEX => {
            may(capability::GET_LOG_ENTRIES)?;
            let index = fields.u16()?;
            fields.finish()?;
            device.log.set_index(index);
            Ok(Vec::new())
        }
        _ => with_key(device, &caller, code, fields),
    }
}

/// Commands that use a key: both it and the caller need the capability.
fn with_key(device: &Device, caller: &Object, code: u8, mut fields: Fields<'_>) -> Outcome {
    let (kind, capability) = match code {
        message::WRAP_DATA => (kind::WRAP_KEY, capability::WRAP_DATA),
        message::UNWRAP_DATA => (kind::WRAP_KEY, capability::UNWRAP_DATA),
        message::SIGN_HMAC => (kind::HMAC_KEY, capability::SIGN_HMAC),
        message::SIGN_ECDSA => (kind::ASYMMETRIC_KEY, capability::SIGN_ECDSA),
        message::GET_PUBLIC_KEY => (kind::ASYMMETRIC_KEY, 0),
        _ => return Err(Refusal::InvalidCommand),
    };
    if caller.capabilities & capability != capability {
        return Err(Refusal::InsufficientPermissions);
    }
    let id = fields.u16()?;
    let key = visible(device, caller, id, kind)?;
    if key.capabilities & capability != capability {
        return Err(Refusal::InsufficientPermissions);
    }
    let data = fields.rest();
    match code {
        message::WRAP_DATA if data.is_empty() || data.len() > MAX_WRAP => Err(Refusal::WrongLength),
        message::WRAP_DATA => {
            let nonce: [u8; 13] = random();
            // The device seals a byte of its own in front of the data.
            let plain = [&[key.algorithm], data].concat();
            let sealed = ccm(key).encrypt(&nonce.into(), plain.as_slice()).unwrap();
            Ok([nonce.as_slice(), &sealed].concat())
        }
        message::UNWRAP_DATA => {
            let (nonce, sealed) = data.split_first_chunk::<13>().ok_or(Refusal::WrongLength)?;
            let plain = ccm(key).decrypt(nonce.into(), sealed).map_err(|_| Refusal::InvalidData)?;
            plain.get(1..).map(<[u8]>::to_vec).ok_or(Refusal::InvalidData)
        }
        message::SIGN_HMAC => {
            let mac = <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(&key.secret).unwrap();
            Ok(mac.chain_update(data).finalize().into_bytes().to_vec())
        }
        message::SIGN_ECDSA if data.len() != 32 => Err(Refusal::WrongLength),
        message::SIGN_ECDSA => {
            let signature: p256::ecdsa::Signature = signing_key(key).sign_prehash(data).unwrap();
            Ok(signature.to_der().as_bytes().to_vec())
        }
        _ => {
            let point = signing_key(key).verifying_key().to_encoded_point(false);
            Ok([&[key.algorithm], &point.as_bytes()[1..]].concat())
        }
    }
}

fn ccm(key: &Object) -> Ccm {
    Ccm::new_from_slice(&key.secret).unwrap()
}

fn signing_key(key: &Object) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&key.secret).unwrap()
}

pub(crate) fn device_info(device: &Device) -> Vec<u8> {
    let mut out = vec![2, 2, 0];
    out.extend(device.serial.to_be_bytes());
    out.push(u8::try_from(super::log::CAPACITY).unwrap());
    out.push(u8::try_from(device.log.entries.len()).unwrap());
    out.extend(&device.algorithms);
    out
}

/// An object outside of the caller's domains is not there.
fn visible<'a>(
    device: &'a Device,
    caller: &Object,
    id: u16,
    kind: u8,
) -> Result<&'a Object, Refusal> {
    let object = device.objects.get(&(id, kind));
    object.filter(|object| object.domains & caller.domains != 0).ok_or(Refusal::ObjectNotFound)
}

fn info(id: u16, kind: u8, object: &Object) -> Vec<u8> {
    [
        object.capabilities.to_be_bytes().as_slice(),
        &id.to_be_bytes(),
        &u16::try_from(object.secret.len()).unwrap().to_be_bytes(),
        &object.domains.to_be_bytes(),
        &[kind, object.algorithm, object.sequence, object.origin],
        &object.label,
        &object.delegated.to_be_bytes(),
    ]
    .concat()
}

fn list(device: &Device, caller: &Object, mut fields: Fields<'_>) -> Outcome {
    let (mut by_id, mut by_kind, mut by_label) = (None, None, None);
    while !fields.0.is_empty() {
        match fields.u8()? {
            1 => by_id = Some(fields.u16()?),
            2 => by_kind = Some(fields.u8()?),
            6 => by_label = Some(fields.array::<40>()?),
            _ => return Err(Refusal::InvalidData),
        }
    }
    let mut out = Vec::new();
    for ((id, kind), object) in &device.objects {
        let wanted = object.domains & caller.domains != 0
            && by_id.is_none_or(|wanted| wanted == *id)
            && by_kind.is_none_or(|wanted| wanted == *kind)
            && by_label.is_none_or(|wanted| wanted == object.label);
        if wanted {
            out.extend(id.to_be_bytes());
            out.extend([*kind, object.sequence]);
        }
    }
    Ok(out)
}

/// Fields that all new objects have; the rest depends on the type.
fn make(
    device: &mut Device,
    caller: &Object,
    mut fields: Fields<'_>,
    kind: u8,
    imported: bool,
) -> Outcome {
    let (id, label) = (fields.u16()?, fields.array::<40>()?);
    let (domains, capabilities, algorithm) = (fields.u16()?, fields.u64()?, fields.u8()?);
    let delegates = matches!(kind, kind::WRAP_KEY | kind::AUTHENTICATION_KEY);
    let delegated = if delegates { fields.u64()? } else { 0 };
    let expected = match kind {
        kind::WRAP_KEY => AES256_CCM_WRAP,
        kind::HMAC_KEY => HMAC_SHA256,
        kind::AUTHENTICATION_KEY => YUBICO_AES,
        _ => EC_P256,
    };
    if algorithm != expected || domains == 0 {
        return Err(Refusal::InvalidData);
    }
    let within =
        domains & !caller.domains == 0 && (capabilities | delegated) & !caller.delegated == 0;
    if !within {
        return Err(Refusal::InsufficientPermissions);
    }
    let given = fields.rest();
    let (origin, secret) = match (imported, given.len()) {
        (false, 0) => (1, random::<32>().to_vec()),
        (true, 32) => (2, given.to_vec()),
        _ => return Err(Refusal::WrongLength),
    };
    let id = if id == 0 { u16::from_be_bytes(random()) } else { id };
    if device.objects.contains_key(&(id, kind)) {
        return Err(Refusal::ObjectExists);
    }
    let sequence = device.sequences.get(&(id, kind)).copied().unwrap_or(0);
    let object =
        Object { domains, capabilities, delegated, algorithm, sequence, origin, label, secret };
    device.objects.insert((id, kind), object);
    Ok(id.to_be_bytes().to_vec())
}

const FORCE_AUDIT: u8 = 1;
const COMMAND_AUDIT: u8 = 3;

fn option(
    device: &mut Device,
    code: u8,
    mut fields: Fields<'_>,
    may: impl Fn(u64) -> Result<(), Refusal>,
) -> Outcome {
    let tag = fields.u8()?;
    if code == message::GET_OPTION {
        may(capability::GET_OPTION)?;
        let audited = |command: u8| u8::from(!device.log.silent.contains_key(&command));
        return match tag {
            FORCE_AUDIT => Ok(vec![u8::from(device.log.force)]),
            COMMAND_AUDIT => Ok((0x40..0x6c).flat_map(|code| [code, audited(code)]).collect()),
            _ => Err(Refusal::InvalidData),
        };
    }
    may(capability::SET_OPTION)?;
    let length = fields.u16()?;
    let value = fields.rest();
    match (tag, value) {
        _ if usize::from(length) != value.len() => Err(Refusal::WrongLength),
        (FORCE_AUDIT, [on]) => {
            device.log.force = *on != 0;
            Ok(Vec::new())
        }
        (COMMAND_AUDIT, pairs) if pairs.len() % 2 == 0 => {
            for pair in pairs.chunks_exact(2) {
                match pair[1] {
                    0 => drop(device.log.silent.insert(pair[0], ())),
                    _ => drop(device.log.silent.remove(&pair[0])),
                }
            }
            Ok(Vec::new())
        }
        _ => Err(Refusal::InvalidData),
    }
}
