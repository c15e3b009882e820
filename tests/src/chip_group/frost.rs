//! FROST with the device, message by message: the first T−1 host parties sign, the first of them coordinates, and the
//! device is the last member. Who calls decides which list is shown when, and may show what nobody honest would.

use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::derive::Derivation;
use quorate_core::frost::{
    Aggregator, FrostKey, FrostSuite, MAX_LIST, MAX_MESSAGE, MAX_OFFER, NoncePool, Offers,
    SignTerms, Signer,
};
use quorate_core::hash::Digest;
use quorate_core::key::OpenedKey;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::Tweak;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::session::{Header, Protocol};
use quorate_node::message::{PeerMessage, sign_session};
use rand_core::RngCore as _;

use super::suites::{K, N, Opened, Signature, verifying_key};
use super::{ChipGroup, DeviceLink, Failed, party};

/// Nonces that a host party makes at a time.
const POOL: usize = 8;

/// A session that has started at the device, and the commitments that it has offered.
pub struct Offered {
    terms: SignTerms<Digest>,
    /// The device's first message.
    pub offer: Vec<u8>,
}

/// A suite of which the device signs by FROST.
pub trait Suite: FrostSuite {
    /// The key, if it is of this suite.
    #[doc(hidden)]
    fn opened(key: &Opened) -> Option<&OpenedKey<Self, N, K>>;
    /// A signature of this suite.
    #[doc(hidden)]
    fn signature(bytes: [u8; 64]) -> Signature;
}

impl Suite for SchnorrSecp256k1 {
    fn opened(key: &Opened) -> Option<&OpenedKey<Self, N, K>> {
        if let Opened::Bip340(key) = key { Some(key) } else { None }
    }

    fn signature(bytes: [u8; 64]) -> Signature {
        Signature::Bip340(bytes)
    }
}

impl Suite for Ed25519 {
    fn opened(key: &Opened) -> Option<&OpenedKey<Self, N, K>> {
        if let Opened::Ed25519(key) = key { Some(key) } else { None }
    }

    fn signature(bytes: [u8; 64]) -> Signature {
        Signature::Ed25519(bytes)
    }
}

/// A host party's key and nonces.
struct Member<G: Suite> {
    key: FrostKey<G>,
    pool: NoncePool<G>,
}

/// A list of commitments, ready to be shown to the device.
pub struct List<G: Suite = Ed25519> {
    /// The coordinator's message.
    pub bytes: Vec<u8>,
    terms: SignTerms<Digest>,
    aggregator: Aggregator<G, Digest>,
    members: Vec<Member<G>>,
    /// Y, as verifiers have it.
    name: Vec<u8>,
}

fn text(error: impl std::fmt::Debug) -> Failed {
    Failed::Session(format!("{error:?}"))
}

impl<L: DeviceLink> ChipGroup<L> {
    /// The hosts that sign with the device.
    fn frost_hosts(&self, key: &[u8; 16]) -> Result<Vec<PartyId>, Failed> {
        let kept = self.parties.get(&self.coordinator()).and_then(|party| party.keys.get(key));
        let kept = kept.ok_or_else(|| text("no such key"))?;
        let threshold = kept.public.terms.holders.threshold();
        Ok(self
            .parties
            .keys()
            .copied()
            .filter(|id| *id != self.device)
            .take(threshold - 1)
            .collect())
    }

    /// Proposes a request to the device and starts the session with a quorum of T.
    ///
    /// # Errors
    /// [`Failed`]: also if the device denies the request.
    pub fn begin_frost(&mut self, request: &[u8]) -> Result<Offered, Failed> {
        let (key, _, message) = party::asked(request).map_err(Failed::Session)?;
        let (coordinator, mut nonce) = (self.coordinator(), [0; 32]);
        self.rng.fill_bytes(&mut nonce);
        let session = sign_session(&self.network, coordinator, &nonce, request);
        let proposal = PeerMessage::ProposeSign { nonce, request: request.to_vec() };
        let salt = self.tell_device(proposal, |said| match said {
            PeerMessage::AcceptSign { session: accepted, salt } if *accepted == session => {
                Some(*salt)
            }
            _ => None,
        })?;
        let hosts = self.frost_hosts(&key)?;
        let quorum: PartySet = hosts.iter().copied().chain([self.device]).collect();
        let of_hosts = hosts.into_iter().map(|host| (host, [0x11; 32]));
        let salts = of_hosts.chain([(self.device, salt)]).collect();
        let start = PeerMessage::StartSign { session, quorum, salts };
        let offer = self.tell_device(start, |said| of_round(said, 1))?;
        let terms = SignTerms { session, quorum, coordinator, tweak: Tweak::None, message };
        Ok(Offered { terms, offer })
    }

    /// A list for this session, with the first commitment of an offer that may be from another one.
    ///
    /// # Errors
    /// [`Failed::Session`] if the key or the offer is no good.
    pub fn frost_list<G: Suite>(
        &mut self,
        key: &[u8; 16],
        session: &Offered,
        offer: &[u8],
    ) -> Result<List<G>, Failed> {
        let (me, mut members, mut name) = (self.coordinator(), Vec::new(), Vec::new());
        for host in self.frost_hosts(key)? {
            let kept = self.parties.get(&host).and_then(|party| party.keys.get(key));
            let kept = kept.ok_or_else(|| text("no such key"))?;
            let opened = kept.opened().and_then(G::opened);
            let opened = opened.ok_or_else(|| text("not an active key of this suite"))?;
            name = verifying_key(&kept.public, &Derivation::Root).map_err(Failed::Session)?;
            let key = FrostKey::of(&kept.public, opened).map_err(text)?;
            let mut drawn = [0; 32];
            self.rng.fill_bytes(&mut drawn);
            let session = &session.terms.session;
            let mut rng = HedgedRng::new(&drawn, &SecretBytes::default(), session, 0);
            let pool = NoncePool::generate(&key, 0, POOL, &mut rng).map_err(text)?;
            members.push(Member { key, pool });
        }
        let public = members.first().ok_or_else(|| text("no host signs"))?.key.public();
        let (mut offers, mut own) = (Offers::new(public, me), vec![0; MAX_OFFER]);
        for Member { key, pool } in &members {
            offers.take(key.party(), pool.offer(me, &mut own).map_err(text)?).map_err(text)?;
        }
        offers.take(self.device, offer).map_err(text)?;
        let terms = session.terms;
        let aggregator = Aggregator::new(public, terms, &mut offers).map_err(text)?;
        let bytes = aggregator.list_message(&mut vec![0; MAX_LIST]).map_err(text)?.to_vec();
        Ok(List { bytes, terms, aggregator, members, name })
    }

    /// Shows a list to the device, whatever it is of: its share.
    ///
    /// # Errors
    /// [`Failed::Silence`] if it has nothing to say to that.
    pub fn show_list<G: Suite>(&mut self, list: &List<G>) -> Result<Vec<u8>, Failed> {
        self.tell_device(PeerMessage::Ecdsa(list.bytes.clone()), |said| of_round(said, 3))
    }

    /// The signature with the device's share, which an independent judge has accepted.
    ///
    /// # Errors
    /// [`Failed::Session`] if there is none.
    pub fn finish_frost<G: Suite>(
        &self,
        mut list: List<G>,
        share: &[u8],
    ) -> Result<Signature, Failed> {
        let (me, terms, mut buffer) = (self.coordinator(), list.terms, [0; MAX_MESSAGE]);
        for Member { key, pool } in &mut list.members {
            let mut signer = Signer::new(key, terms).map_err(text)?;
            let listed = signer.handle_list(me, &list.bytes).map_err(text)?;
            let reserved = listed.reserve(key, pool).map_err(text)?;
            let consumed = reserved.persist(|_| Ok::<_, ()>(())).map_err(text)?;
            let own = consumed.sign(key).map_err(text)?;
            let own = own.encode(&mut buffer).map_err(text)?;
            list.aggregator.handle_share(key.party(), own).map_err(text)?;
        }
        let signature = list.aggregator.handle_share(self.device, share).map_err(text)?;
        let signature = G::signature(signature.ok_or_else(|| text("a share is missing"))?.0);
        signature.judge(&list.name, &terms.message).map_err(Failed::Session)?;
        Ok(signature)
    }

    /// Gives the device a message of the coordinator, and waits until it has said what `wanted` finds, or has
    /// nothing more to say.
    fn tell_device<T>(
        &mut self,
        message: PeerMessage,
        wanted: impl Fn(&PeerMessage) -> Option<T>,
    ) -> Result<T, Failed> {
        let (from, coordinator) = (self.said.len(), self.coordinator());
        self.send_all(coordinator, vec![(self.device, message)]);
        loop {
            for (_, said) in self.said.iter().skip(from) {
                if let PeerMessage::RejectSign { reason, .. } = said {
                    return Err(Failed::Rejected(self.device, reason.clone()));
                }
                if let Some(found) = wanted(said) {
                    return Ok(found);
                }
            }
            let waits = self.wires.get(&coordinator).is_some_and(|wire| !wire.frames.is_empty());
            if !self.step()? && !waits {
                return Err(Failed::Silence("the device does not answer".to_owned()));
            }
        }
    }
}

/// A message of FROST, if it is of this round.
fn of_round(said: &PeerMessage, round: u8) -> Option<Vec<u8>> {
    let PeerMessage::Ecdsa(bytes) = said else { return None };
    let header = Header::peek(bytes).ok()?;
    (header.protocol == Protocol::Frost && header.round == round).then(|| bytes.clone())
}
