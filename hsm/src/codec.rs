//! A bounded reader and writer for hand-laid formats: big-endian, nothing optional, no trailing bytes.

use crate::HsmError;

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], HsmError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(HsmError::Corrupt { what })?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], HsmError> {
        self.take(N, what)?.try_into().map_err(|_| HsmError::Corrupt { what })
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, HsmError> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, HsmError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, HsmError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, HsmError> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A byte string behind a one-byte length.
    pub(crate) fn short(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], HsmError> {
        let count = usize::from(self.u8(what)?);
        if count > limit {
            return Err(HsmError::Corrupt { what });
        }
        self.take(count, what)
    }

    pub(crate) fn finish(self) -> Result<(), HsmError> {
        if self.0.is_empty() { Ok(()) } else { Err(HsmError::Corrupt { what: "trailing bytes" }) }
    }
}

/// Appends a byte string behind a one-byte length.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), HsmError> {
    let size = bytes.len();
    let too_large = HsmError::TooLarge { size, limit };
    let count = u8::try_from(size).map_err(|_| too_large.clone())?;
    if size > limit {
        return Err(too_large);
    }
    out.push(count);
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
