//! Capabilities, as they are published.

pub(crate) const PUT_AUTHENTICATION_KEY: u64 = 1 << 2;
pub(crate) const GENERATE_ASYMMETRIC_KEY: u64 = 1 << 4;
pub(crate) const SIGN_ECDSA: u64 = 1 << 7;
pub(crate) const EXPORT_WRAPPED: u64 = 1 << 12;
pub(crate) const PUT_WRAP_KEY: u64 = 1 << 14;
pub(crate) const GENERATE_WRAP_KEY: u64 = 1 << 15;
pub(crate) const EXPORTABLE_UNDER_WRAP: u64 = 1 << 16;
pub(crate) const SET_OPTION: u64 = 1 << 17;
pub(crate) const GET_OPTION: u64 = 1 << 18;
pub(crate) const GET_PSEUDO_RANDOM: u64 = 1 << 19;
pub(crate) const GENERATE_HMAC_KEY: u64 = 1 << 21;
pub(crate) const SIGN_HMAC: u64 = 1 << 22;
pub(crate) const GET_LOG_ENTRIES: u64 = 1 << 24;
pub(crate) const RESET_DEVICE: u64 = 1 << 28;
pub(crate) const WRAP_DATA: u64 = 1 << 37;
pub(crate) const UNWRAP_DATA: u64 = 1 << 38;
const DELETE_OPAQUE: u64 = 1 << 39;
const DELETE_AUTHENTICATION_KEY: u64 = 1 << 40;
const DELETE_ASYMMETRIC_KEY: u64 = 1 << 41;
const DELETE_WRAP_KEY: u64 = 1 << 42;
const DELETE_HMAC_KEY: u64 = 1 << 43;
pub(crate) const ALL: u64 = (1 << 47) - 1;

/// What deletes an object of a type.
pub(crate) fn delete(kind: u8) -> u64 {
    match kind {
        2 => DELETE_AUTHENTICATION_KEY,
        3 => DELETE_ASYMMETRIC_KEY,
        4 => DELETE_WRAP_KEY,
        5 => DELETE_HMAC_KEY,
        _ => DELETE_OPAQUE,
    }
}
