//! `dkls23-core`: ECDSA from oblivious transfer, T of n with T online.

use std::collections::BTreeMap;

use dkls23_core::protocols::re_key::re_key;
use dkls23_core::protocols::sign_session::SignSession;
use dkls23_core::protocols::signature::EcdsaSignature;
use dkls23_core::protocols::signing::SignData;
use dkls23_core::protocols::{Parameters, Party, PartyIndex};
use k256_next::Secp256k1;

/// Parties with a key; all of them sign.
pub struct Signers(Vec<Party<Secp256k1>>);

impl Signers {
    pub fn new(count: u8) -> Self {
        let parameters = Parameters { threshold: count, share_count: count };
        let secret = k256_next::Scalar::from(7u64);
        let (parties, _) =
            re_key::<Secp256k1>(&parameters, &[1; 32], &secret, None, |_| String::new());
        Self(parties)
    }

    /// One signature of all, in one thread.
    pub fn sign(&self) -> EcdsaSignature {
        let all: Vec<PartyIndex> = self.0.iter().map(|party| party.party_index).collect();
        let mut sessions = BTreeMap::new();
        let mut first = Vec::new();
        for party in &self.0 {
            let counterparties = all.iter().copied().filter(|p| *p != party.party_index).collect();
            let data = SignData { sign_id: vec![1; 32], counterparties, message_hash: [7; 32] };
            let (session, transmit) = SignSession::new(party, data).expect("honest");
            sessions.insert(party.party_index, session);
            first.extend(transmit);
        }
        let mut second = Vec::new();
        for (me, session) in &mut sessions {
            let mine: Vec<_> =
                first.iter().filter(|m| m.parties.receiver == *me).cloned().collect();
            second.extend(session.phase2(&mine).expect("honest"));
        }
        let mut third = Vec::new();
        for (me, session) in &mut sessions {
            let mine: Vec<_> =
                second.iter().filter(|m| m.parties.receiver == *me).cloned().collect();
            third.push(session.phase3(&mine).expect("honest"));
        }
        let (_, last) = sessions.pop_first().expect("signers");
        last.phase4(&third, true).expect("a signature")
    }
}
