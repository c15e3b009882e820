//! FROST: records, one strange message at every end, and sessions under a plan. Party 1 is the coordinator
//! and no member; parties 2, 3 and 4 sign.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::frost::{
    Aggregator, FrostKey, FrostPublic, FrostSuite, MAX_OFFER, NoncePool, Offers, PublicRecord,
    ReserveError, SecretRecord, Signature, Signer,
};
use quorate_core::key::ShareRecord;
use quorate_core::nonce::Failure;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::Tweak;
use quorate_core::secret::SecretBytes;
use quorate_core::session::Header;
use quorate_core::wire;

use super::decoders::canonical;
use super::seeds::{Seeds, encoded, named};
use super::sessions::{HOLDERS, MESSAGE, Taken, judge, signing};
use crate::judge::{accepts_bip340, accepts_ed25519};
use crate::simulator::frost::forge::List;
use crate::simulator::frost::{
    Scene, Store, Terms, encode, key_terms, list_of, offer_of, terms_of,
};
use crate::simulator::{K, N, Packet, group_on, id};

/// A suite with its key, made once.
trait Suite: FrostSuite {
    fn fixed() -> Option<&'static Fixed<Self>>;
    fn accepts(key: &[u8; 32], signature: &[u8; 64]) -> Result<(), String>;
}

impl Suite for SchnorrSecp256k1 {
    fn fixed() -> Option<&'static Fixed<Self>> {
        static FIXED: OnceLock<Option<Fixed<SchnorrSecp256k1>>> = OnceLock::new();
        FIXED.get_or_init(Fixed::new).as_ref()
    }

    fn accepts(key: &[u8; 32], signature: &[u8; 64]) -> Result<(), String> {
        accepts_bip340(key, MESSAGE, signature)
    }
}

impl Suite for Ed25519 {
    fn fixed() -> Option<&'static Fixed<Self>> {
        static FIXED: OnceLock<Option<Fixed<Ed25519>>> = OnceLock::new();
        FIXED.get_or_init(Fixed::new).as_ref()
    }

    fn accepts(key: &[u8; 32], signature: &[u8; 64]) -> Result<(), String> {
        accepts_ed25519(key, MESSAGE, signature)
    }
}

/// Fixed values: a key that only FROST can use, and pools of two nonces with their offers.
struct Fixed<G: FrostSuite> {
    record: PublicRecord<N>,
    shares: BTreeMap<PartyId, [u8; 32]>,
    public: FrostPublic<G>,
    keys: BTreeMap<PartyId, FrostKey<G>>,
    pools: BTreeMap<PartyId, (Vec<u8>, Vec<u8>)>,
}

impl<G: FrostSuite> Fixed<G> {
    fn new() -> Option<Self> {
        let group = group_on::<G>(PartySet::first(HOLDERS), 2, 1);
        let commitment = group.values().next()?.public.commitment.clone();
        let (terms, version) = (key_terms::<G>(HOLDERS, 2), wire::VERSION);
        let record = PublicRecord { version, terms, commitment };
        let share = |sealed: &[u8]| {
            let record: ShareRecord<N, K> = wire::decode(sealed).ok()?;
            Some(*record.share.expose())
        };
        let shares: BTreeMap<_, _> =
            group.iter().filter_map(|(me, held)| Some((*me, share(&held.sealed)?))).collect();
        let open = |me: PartyId| {
            FrostKey::open(&record, me, secret_record(&record, me, shares.get(&me)?)).ok()
        };
        let scene = Scene::<G>::new(shares.keys().filter_map(|me| open(*me)).collect(), 2, 1);
        let stored =
            |pool: &NoncePool<G>| Some((pool.record().ok()?.to_vec(), offer_of(pool, id(1))));
        let pools = scene.members.iter().filter_map(|(me, m)| Some((*me, stored(&m.pool)?)));
        let pools = pools.collect();
        let keys = scene.members.into_iter().map(|(me, member)| (me, member.key)).collect();
        Some(Self { record, shares, public: scene.public, keys, pools })
    }
}

fn secret_record(record: &PublicRecord<N>, party: PartyId, share: &[u8; 32]) -> SecretRecord {
    SecretRecord {
        version: wire::VERSION,
        context: record.terms.context(),
        epoch: record.terms.epoch,
        party,
        share: SecretBytes::new(*share),
    }
}

fn members() -> PartySet {
    [2, 3, 4].map(id).into_iter().collect()
}

fn terms() -> Terms {
    terms_of(members(), MESSAGE, Tweak::None, 1)
}

/// A session in which all offers have arrived.
struct Run<G: Suite> {
    fixed: &'static Fixed<G>,
    offers: Offers<G>,
    aggregator: Aggregator<G, Vec<u8>>,
    signers: BTreeMap<PartyId, Signer<G, Vec<u8>>>,
    store: Store,
}

impl<G: Suite> Run<G> {
    fn start() -> Option<Self> {
        let fixed = G::fixed()?;
        let (mut offers, mut store) = (Offers::new(&fixed.public, id(1)), Store::default());
        let mut signers = BTreeMap::new();
        for me in members().iter() {
            let (record, offer) = fixed.pools.get(&me)?;
            offers.take(me, offer).ok()?;
            let header = Header::peek(offer).ok()?;
            store.0.insert(header.session, record.clone());
            signers.insert(me, Signer::new(fixed.keys.get(&me)?, terms()).ok()?);
        }
        let aggregator = Aggregator::new(&fixed.public, terms(), &mut offers).ok()?;
        Some(Self { fixed, offers, aggregator, signers, store })
    }

    fn lists(&self) -> Vec<Packet> {
        let bytes = list_of(&self.aggregator);
        members().iter().map(|to| Packet { from: id(1), to, bytes: bytes.clone() }).collect()
    }

    fn take(&mut self, packet: &Packet) -> Result<Taken<Signature>, Failure> {
        let (from, bytes) = (packet.from, packet.bytes.as_slice());
        let round = Header::peek(bytes).map_or(0, |header| header.round);
        if packet.to == id(1) && round == 1 {
            return self.offers.take(from, bytes).map(|()| Taken::Nothing);
        }
        if packet.to == id(1) {
            let made = self.aggregator.handle_share(from, bytes)?;
            return Ok(made.map_or(Taken::Nothing, Taken::Signature));
        }
        self.answer(packet.to, from, bytes)
    }

    /// As drivers do it: the pool comes out of the store, and goes back before there is a share.
    fn answer(
        &mut self,
        me: PartyId,
        from: PartyId,
        list: &[u8],
    ) -> Result<Taken<Signature>, Failure> {
        let parts = self.fixed.keys.get(&me).zip(self.signers.get_mut(&me));
        let Some((key, signer)) = parts else { return Ok(Taken::Nothing) };
        let listed = signer.handle_list(from, list)?;
        let stored = self.store.0.get(listed.pool());
        let Some(Ok(mut pool)) = stored.map(|record| NoncePool::open(key, 0, record)) else {
            return Ok(Taken::Nothing);
        };
        let reserved = match listed.reserve(key, &mut pool) {
            Ok(reserved) => reserved,
            Err(ReserveError::Aborted(abort)) => return Err(Failure::Aborted(abort)),
            Err(ReserveError::Pool(_)) => return Ok(Taken::Nothing),
        };
        let consumed = reserved.persist(|change| self.store.replace(change));
        let share = consumed.ok().and_then(|consumed| consumed.sign(key).ok());
        assert!(share.is_some(), "a nonce that was taken and stored makes no share");
        let answer = share.map(|share| Packet { from: me, to: id(1), bytes: encode(&share) });
        Ok(answer.map_or(Taken::Nothing, Taken::Answer))
    }
}

/// The judge shares no code with ours.
fn check<G: Suite>(signature: &Signature) {
    let key = G::fixed().map(|fixed| fixed.public.group_key().0);
    let name = key.and_then(|key| <[u8; 32]>::try_from(key.get(1..)?).ok());
    assert_eq!(name.map(|name| G::accepts(&name, &signature.0)), Some(Ok(())));
}

/// One message at the coordinator and at a member.
pub(super) fn message(input: &[u8]) {
    fn at_all<G: Suite>(input: &[u8]) {
        let Some(mut run) = Run::<G>::start() else { return };
        let from = Header::peek(input).map_or(id(2), |header| header.from);
        for to in [id(1), id(4)].into_iter().filter(|to| *to != from) {
            match run.take(&Packet { from, to, bytes: input.to_vec() }) {
                Err(Failure::Aborted(abort)) => judge(abort, Some(from)),
                // A member answers its coordinator alone, and only if its own commitment is in the list as
                // it was offered.
                Ok(Taken::Answer(_)) => {
                    let own = |list: &[u8]| {
                        let entries = wire::decode::<List>(list).ok()?.entries;
                        entries.into_iter().find(|(party, ..)| *party == to)
                    };
                    let offered = own(&list_of(&run.aggregator));
                    assert!(from == id(1) && offered.is_some() && own(input) == offered);
                }
                Ok(Taken::Signature(_)) => unreachable!("one share makes no signature"),
                Ok(Taken::Nothing) | Err(Failure::Refused(_)) => {}
            }
        }
    }
    at_all::<SchnorrSecp256k1>(input);
    at_all::<Ed25519>(input);
}

/// Operations on a session; the length decides the suite.
pub(super) fn session(input: &[u8]) {
    fn planned<G: Suite>(input: &[u8]) {
        if let Some(mut run) = Run::<G>::start() {
            let parties = PartySet::first(HOLDERS);
            signing(input, parties, run.lists(), |packet| run.take(packet), check::<G>);
        }
    }
    if input.len().is_multiple_of(2) {
        planned::<SchnorrSecp256k1>(input);
    } else {
        planned::<Ed25519>(input);
    }
}

/// What is stored of a FROST-only key, and of nonces: what opens is the right key, and the same pool.
pub(super) fn records(input: &[u8]) {
    fn of<G: Suite>(input: &[u8]) {
        if let Some(record) = canonical::<PublicRecord<N>>(input)
            && let Ok(public) = FrostPublic::<G>::open(&record)
        {
            assert_eq!(Some(public.group_key()), record.commitment.first());
            assert_eq!(*public.context(), record.terms.context());
        }
        let Some(fixed) = G::fixed() else { return };
        if let Some(secret) = canonical::<SecretRecord>(input) {
            let (party, share) = (secret.party, *secret.share.expose());
            if FrostKey::<G>::open(&fixed.record, party, secret).is_ok() {
                assert_eq!(fixed.shares.get(&party), Some(&share));
            }
        }
        let Some(key) = fixed.keys.get(&id(2)) else { return };
        if let Ok(pool) = NoncePool::open(key, 0, input) {
            assert_eq!(pool.record().as_ref().map(|record| record.as_slice()), Ok(input));
            assert!(pool.offer(id(1), &mut [0; MAX_OFFER]).is_ok());
        }
    }
    of::<SchnorrSecp256k1>(input);
    of::<Ed25519>(input);
}

fn seeds_of<G: Suite>(
    suite: &str,
    values: impl Fn(&'static Fixed<G>) -> Option<Vec<(&'static str, Vec<u8>)>>,
) -> Seeds {
    let values = G::fixed().and_then(values).unwrap_or_default();
    values.into_iter().map(|(name, bytes)| named(&format!("{suite}-{name}"), bytes)).collect()
}

/// R1, R2 and R3 of both suites.
pub(super) fn messages() -> Seeds {
    fn of<G: Suite>(suite: &str) -> Seeds {
        seeds_of::<G>(suite, |fixed| {
            let mut run = Run::<G>::start()?;
            let list = list_of(&run.aggregator);
            let Ok(Taken::Answer(share)) = run.answer(id(2), id(1), &list) else { return None };
            let offer = fixed.pools.get(&id(2))?.1.clone();
            Some(vec![("round-1", offer), ("round-2", list), ("round-3", share.bytes)])
        })
    }
    [of::<SchnorrSecp256k1>("bip340"), of::<Ed25519>("ed25519")].concat()
}

/// All stored forms of both suites; of the pool also with one nonce gone.
pub(super) fn stored() -> Seeds {
    fn of<G: Suite>(suite: &str) -> Seeds {
        seeds_of::<G>(suite, |fixed| {
            let mut run = Run::<G>::start()?;
            let list = list_of(&run.aggregator);
            let (pool, offer) = fixed.pools.get(&id(2))?;
            run.answer(id(2), id(1), &list).ok()?;
            let used = run.store.0.get(&Header::peek(offer).ok()?.session)?.clone();
            let secret = secret_record(&fixed.record, id(2), fixed.shares.get(&id(2))?);
            Some(vec![
                ("public-record", encoded(&fixed.record)),
                ("secret-record", encoded(&secret)),
                ("pool", pool.clone()),
                ("used-pool", used),
            ])
        })
    }
    [of::<SchnorrSecp256k1>("bip340"), of::<Ed25519>("ed25519")].concat()
}
