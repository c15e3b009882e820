//! The device's end of the secure channel: GlobalPlatform SCP03 (amendment D) with AES-128, in the
//! message format of the YubiHSM 2.

use aes::Aes128;
use aes::cipher::block_padding::Iso7816;
use aes::cipher::{BlockDecryptMut, BlockEncrypt, BlockEncryptMut, KeyInit, KeyIvInit};
use cmac::{Cmac, Mac};

use super::message;

pub(crate) const CHALLENGE: usize = 8;
pub(crate) const MAC: usize = 8;

/// The keys of one session and where its chain of MACs stands.
pub(crate) struct Channel {
    encryption: [u8; 16],
    mac: [u8; 16],
    response_mac: [u8; 16],
    context: [u8; 2 * CHALLENGE],
    chain: [u8; 16],
    counter: u32,
}

impl Channel {
    /// `key`: the authentication key, first for encryption, then for MACs.
    pub(crate) fn new(key: &[u8; 32], host: [u8; CHALLENGE], card: [u8; CHALLENGE]) -> Self {
        let mut context = [0; 2 * CHALLENGE];
        context[..CHALLENGE].copy_from_slice(&host);
        context[CHALLENGE..].copy_from_slice(&card);
        Self {
            encryption: derive(&key[..16], 4, &context),
            mac: derive(&key[16..], 6, &context),
            response_mac: derive(&key[16..], 7, &context),
            context,
            chain: [0; 16],
            counter: 0,
        }
    }

    pub(crate) fn card_cryptogram(&self) -> [u8; 8] {
        derive(&self.mac, 0, &self.context)
    }

    fn host_cryptogram(&self) -> [u8; 8] {
        derive(&self.mac, 1, &self.context)
    }

    /// AUTHENTICATE SESSION: the host proves that it knows the key.
    pub(crate) fn authenticate(&mut self, session: u8, cryptogram: &[u8], mac: &[u8]) -> bool {
        let authentic = self.verify(message::AUTHENTICATE_SESSION, session, cryptogram, mac)
            && cryptogram == self.host_cryptogram();
        self.counter = 1;
        authentic
    }

    /// `None` if the MAC or the padding is wrong.
    pub(crate) fn open(&mut self, session: u8, sealed: &[u8], mac: &[u8]) -> Option<Vec<u8>> {
        if !self.verify(message::SESSION_MESSAGE, session, sealed, mac) {
            return None;
        }
        let cipher = cbc::Decryptor::<Aes128>::new(&self.encryption.into(), &self.iv().into());
        cipher.decrypt_padded_vec_mut::<Iso7816>(sealed).ok()
    }

    /// The answer to the message that was opened last: ciphertext, then MAC.
    pub(crate) fn seal(&mut self, session: u8, plain: &[u8]) -> Vec<u8> {
        let cipher = cbc::Encryptor::<Aes128>::new(&self.encryption.into(), &self.iv().into());
        let mut sealed = cipher.encrypt_padded_vec_mut::<Iso7816>(plain);
        let answer = message::SESSION_MESSAGE | message::ANSWER;
        let tag = tag(&self.response_mac, &self.chain, answer, session, &sealed);
        sealed.extend_from_slice(&tag[..MAC]);
        self.counter += 1;
        sealed
    }

    fn verify(&mut self, code: u8, session: u8, data: &[u8], mac: &[u8]) -> bool {
        let tag = tag(&self.mac, &self.chain, code, session, data);
        let authentic = tag[..MAC] == *mac;
        if authentic {
            self.chain = tag;
        }
        authentic
    }

    fn iv(&self) -> [u8; 16] {
        let mut block = [0; 16];
        block[12..].copy_from_slice(&self.counter.to_be_bytes());
        let mut block = block.into();
        Aes128::new(&self.encryption.into()).encrypt_block(&mut block);
        block.into()
    }
}

/// NIST SP 800-108 in counter mode: label, zero, length in bits, counter, both challenges.
fn derive<const N: usize>(key: &[u8], constant: u8, context: &[u8]) -> [u8; N] {
    let mut block = [0; 16];
    block[11] = constant;
    block[13..15].copy_from_slice(&u16::try_from(8 * N).unwrap().to_be_bytes());
    block[15] = 1;
    let mac = <Cmac<Aes128> as Mac>::new_from_slice(key).unwrap();
    let derived = mac.chain_update(block).chain_update(context).finalize().into_bytes();
    derived[..N].try_into().unwrap()
}

fn tag(key: &[u8; 16], chain: &[u8; 16], code: u8, session: u8, data: &[u8]) -> [u8; 16] {
    let length = u16::try_from(1 + data.len() + MAC).unwrap();
    <Cmac<Aes128> as Mac>::new_from_slice(key)
        .unwrap()
        .chain_update(chain)
        .chain_update([code])
        .chain_update(length.to_be_bytes())
        .chain_update([session])
        .chain_update(data)
        .finalize()
        .into_bytes()
        .into()
}
