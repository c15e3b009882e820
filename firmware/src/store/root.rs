//! The root key's page, and the page that says that it is being erased.

use quorate_core::hash::Transcript;
use quorate_core::secret::SecretBytes;
use zeroize::Zeroize as _;

use super::StoreError;
use super::record::{self, Area, Flash};

const ROOT_MAGIC: [u8; 4] = *b"QOR1";
const WORN_MAGIC: [u8; 4] = *b"QOW1";
const CHECK: usize = 12;
/// What lies in the page of the mark: wear at its start, the mark behind it.
const MARK_AT: u32 = 256;
/// Any byte of it that is zero is a wipe that has begun.
const MARK: [u8; 16] = [0; 16];

/// What the root's page holds.
pub(super) enum Root {
    /// Nothing.
    Blank,
    /// A root key.
    Key(SecretBytes),
    /// Something else.
    Torn,
}

/// Where the parts are: each in words of its own.
fn places<F: Flash>(page: Area) -> [u32; 3] {
    let key = page.start.wrapping_add(F::UNIT);
    [page.start, key, key.wrapping_add(const { 32u32.next_multiple_of(F::UNIT) })]
}

fn check(root: &SecretBytes) -> [u8; CHECK] {
    let digest = Transcript::new("store-root").bytes(root.expose()).secret();
    digest.expose().first_chunk().copied().unwrap_or_default()
}

pub(super) fn load<F: Flash>(flash: &mut F, page: Area) -> Result<Root, StoreError> {
    if record::is_blank(flash, page)? {
        return Ok(Root::Blank);
    }
    let (mut magic, mut root, mut found) = ([0; 4], [0; 32], [0; CHECK]);
    let [magic_at, key_at, check_at] = places::<F>(page);
    record::read_raw(flash, magic_at, &mut magic)?;
    record::read_raw(flash, key_at, &mut root)?;
    let key = SecretBytes::new(root);
    root.zeroize();
    record::read_raw(flash, check_at, &mut found)?;
    Ok(if magic == ROOT_MAGIC && found == check(&key) { Root::Key(key) } else { Root::Torn })
}

/// The page is blank before. The check is written last.
pub(super) fn save<F: Flash>(flash: &mut F, page: Area, root: &[u8; 32]) -> Result<(), StoreError> {
    let [magic_at, key_at, check_at] = places::<F>(page);
    record::write_raw(flash, magic_at, &ROOT_MAGIC)?;
    record::write_raw(flash, key_at, root)?;
    let check = check(&SecretBytes::new(*root));
    record::write_raw(flash, check_at, &check)
}

pub(super) fn is_wiping<F: Flash>(flash: &mut F, page: Area) -> Result<bool, StoreError> {
    let mut mark = [0xff; MARK.len()];
    record::read_raw(flash, page.start.wrapping_add(MARK_AT), &mut mark)?;
    Ok(mark.contains(&0))
}

/// From here on the wipe goes on until it is complete, whatever happens.
pub(super) fn begin_wipe<F: Flash>(flash: &mut F, page: Area) -> Result<(), StoreError> {
    if is_wiping(flash, page)? {
        return Ok(());
    }
    let place = Area { start: page.start.wrapping_add(MARK_AT), end: page.end };
    if !record::is_blank(flash, place)? {
        record::erase(flash, page)?;
    }
    record::write_raw(flash, place.start, &MARK)
}

pub(super) fn end_wipe<F: Flash>(flash: &mut F, page: Area, worn: u32) -> Result<(), StoreError> {
    record::erase(flash, page)?;
    let [a, b, c, d] = worn.to_le_bytes();
    let [m0, m1, m2, m3] = WORN_MAGIC;
    record::write_raw(flash, page.start, &[m0, m1, m2, m3, a, b, c, d, !a, !b, !c, !d])
}

/// How often pages were erased before the last wipe.
pub(super) fn worn<F: Flash>(flash: &mut F, page: Area) -> Result<u32, StoreError> {
    let mut bytes = [0; 12];
    record::read_raw(flash, page.start, &mut bytes)?;
    let [magic @ .., a, b, c, d, e, f, g, h] = bytes;
    let whole = magic == WORN_MAGIC && [e, f, g, h] == [!a, !b, !c, !d];
    Ok(if whole { u32::from_le_bytes([a, b, c, d]) } else { 0 })
}
