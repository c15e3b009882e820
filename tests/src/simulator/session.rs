//! A signing session among simulated parties, for every stateless scheme.

use std::collections::BTreeMap;

use quorate_core::curve;
use quorate_core::key::OpenedKey;
use quorate_core::nonce::{
    Combine, Combiner, Failure, MAX_MESSAGE, Salt, Scheme, SignError, Signer,
};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::{Abort, Header};

use super::{Adversary, Group, K, N, Network, Packet, S};

/// How a signing session ended.
pub struct Signing<T> {
    /// The verified signature, if the coordinator has one.
    pub signature: Option<T>,
    /// Which members aborted, and why.
    pub aborted: BTreeMap<PartyId, Abort>,
    /// Why the coordinator gave up.
    pub failed: Option<Abort>,
    /// Whose key does not open, and why.
    pub unopened: BTreeMap<PartyId, String>,
    /// Who refused to start.
    pub not_started: BTreeMap<PartyId, SignError>,
    /// Messages that were dropped, by receiver and sender.
    pub refused: Vec<(PartyId, PartyId, Failure)>,
}

impl<T> Default for Signing<T> {
    fn default() -> Self {
        Self {
            signature: None,
            aborted: BTreeMap::new(),
            failed: None,
            unopened: BTreeMap::new(),
            not_started: BTreeMap::new(),
            refused: Vec::new(),
        }
    }
}

/// A salt for tests.
#[must_use]
pub fn salt_of(party: PartyId, seed: u64) -> Salt {
    let mut salt = [party.number() as u8; 32];
    salt[..8].copy_from_slice(&seed.to_be_bytes());
    salt
}

/// The group of a coordinator's scheme.
type GroupOf<C> = <<C as Combine>::Scheme as Scheme>::Group;
type Members<C> =
    BTreeMap<PartyId, (OpenedKey<GroupOf<C>, N, K>, Signer<<C as Combine>::Scheme, S>)>;

/// How one party starts, with its opened key.
pub(super) type Start<'a, C> = dyn Fn(
        PartyId,
        &OpenedKey<GroupOf<C>, N, K>,
    ) -> Result<Signer<<C as Combine>::Scheme, S>, SignError>
    + 'a;

/// Opens the members' keys, starts everybody, and delivers all messages.
pub(super) fn drive<C: Combine>(
    group: &Group<GroupOf<C>>,
    (quorum, coordinator): (PartySet, PartyId),
    combiner: Result<Combiner<C, S>, SignError>,
    start: &Start<'_, C>,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing<C::Signature>
where
    GroupOf<C>: curve::Group,
{
    let mut result = Signing::default();
    let mut combiner = combiner.map_err(|error| result.not_started.insert(coordinator, error)).ok();
    let mut members: Members<C> = BTreeMap::new();
    for me in quorum.iter() {
        let Some(stored) = group.get(&me) else { continue };
        match stored.open(me) {
            Err(error) => drop(result.unopened.insert(me, error)),
            Ok(key) => match start(me, &key) {
                Ok(signer) => drop(members.insert(me, (key, signer))),
                Err(error) => drop(result.not_started.insert(me, error)),
            },
        }
    }
    let mut buffer = [0; MAX_MESSAGE];
    for (me, (_, signer)) in &members {
        let Ok(bytes) = signer.nonce_message(&mut buffer) else { continue };
        for to in quorum.without(*me).with(coordinator).iter() {
            network.send(Packet { from: *me, to, bytes: bytes.to_vec() }, adversary);
        }
    }
    while let Some(Packet { from, to, bytes }) = network.next_packet() {
        let is_share = Header::peek(&bytes).is_ok_and(|header| header.round == 2);
        if let Some(combiner) = combiner.as_mut().filter(|_| to == coordinator) {
            let taken = match is_share {
                true => combiner.handle_share(from, &bytes),
                false => combiner.handle_nonce(from, &bytes),
            };
            match taken {
                Ok(None) => {}
                Ok(signature) => result.signature = signature,
                Err(Failure::Aborted(abort)) => result.failed = Some(abort),
                Err(refused) => result.refused.push((to, from, refused)),
            }
        }
        let Some((key, signer)) = members.get_mut(&to) else { continue };
        // What the coordinator's combiner took is not for its signer too.
        if to == coordinator && (is_share || from == to) {
            continue;
        }
        match signer.handle_nonce(key, from, &bytes) {
            Ok(Some(share)) => {
                let Ok(bytes) = share.encode(&mut buffer) else { continue };
                let packet = Packet { from: to, to: coordinator, bytes: bytes.to_vec() };
                network.send(packet, adversary);
            }
            Ok(None) => {}
            Err(Failure::Aborted(abort)) => drop(result.aborted.insert(to, abort)),
            Err(refused) => result.refused.push((to, from, refused)),
        }
    }
    result
}
