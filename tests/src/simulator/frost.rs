//! FROST among simulated parties: keys from three sources, a store that knows what is newer, and a
//! session whose every message a test may hold, alter or lose.

pub mod forge;

use std::collections::BTreeMap;

use frost_core::keys::dkg;
use frost_core::keys::{IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer};
use frost_core::{Ciphersuite, Identifier};
use quorate_core::frost::{
    Aggregator, Change, Failure, FrostGroup, FrostKey, FrostPublic, FrostSuite, FrostTerms,
    MAX_LIST, MAX_MESSAGE, MAX_OFFER, NoncePool, Offers, PublicRecord, SecretRecord, SignError,
    SignTerms, Signature, Signer,
};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::Tweak;
use quorate_core::secret::{HedgedRng, SecretBytes};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{Group, N, id, session_of};

/// Terms as the simulated parties hold them.
pub type Terms = SignTerms<Vec<u8>>;

/// A coordinator's session, and the encoded list that it shows.
pub type Begun<G> = (Aggregator<G, Vec<u8>>, Vec<u8>);

/// What a key generation or a dealer of `frost-core` gives.
pub type Packages<C> = (Vec<KeyPackage<C>>, PublicKeyPackage<C>);

/// A store of pools: it replaces a record only by the one that follows it.
#[derive(Default)]
pub struct Store(pub BTreeMap<Digest, Vec<u8>>);

/// The store holds another state of the pool than the change was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl Store {
    /// Writes a changed pool, durably.
    ///
    /// # Errors
    /// [`Stale`] if another copy of the pool was here first.
    pub fn replace(&mut self, change: &Change) -> Result<(), Stale> {
        let stored = self.0.get_mut(change.pool()).ok_or(Stale)?;
        if !change.replaces(stored) {
            return Err(Stale);
        }
        *stored = change.record().to_vec();
        Ok(())
    }
}

/// One party.
pub struct Member<G: FrostSuite> {
    /// Its opened share.
    pub key: FrostKey<G>,
    /// Its nonces, in memory.
    pub pool: NoncePool<G>,
    /// Its nonces, on disk.
    pub store: Store,
}

/// All holders of one key, and party 1's work as coordinator.
pub struct Scene<G: FrostSuite> {
    /// The public side.
    pub public: FrostPublic<G>,
    /// The holders.
    pub members: BTreeMap<PartyId, Member<G>>,
    /// What the coordinator has been offered.
    pub offers: Offers<G>,
}

/// Hedged randomness that follows from `seed`.
#[must_use]
pub fn hedged(party: PartyId, seed: u64) -> HedgedRng {
    HedgedRng::new(&[party.number() as u8; 32], &SecretBytes::new([7; 32]), &[0; 32], seed)
}

/// The keys of our own key generation, for FROST.
///
/// # Errors
/// What does not fit, for people.
pub fn ours<G: FrostGroup>(group: &Group<G>) -> Result<Vec<FrostKey<G>>, String> {
    let open = |(me, stored): (&PartyId, &super::Stored<G>)| {
        let opened = stored.open(*me)?;
        FrostKey::of(&stored.public, &opened).map_err(|error| error.to_string())
    };
    group.iter().map(open).collect()
}

/// Shares from a trusted dealer of `frost-core`, for parties 1 … n.
///
/// # Errors
/// That crate's.
pub fn dealt<C: Ciphersuite>(
    n: u16,
    t: u16,
    seed: u64,
) -> Result<Packages<C>, frost_core::Error<C>> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (shares, public) = generate_with_dealer(n, t, IdentifierList::Default, &mut rng)?;
    let packages: Result<Vec<_>, _> = shares.into_values().map(KeyPackage::try_from).collect();
    Ok((packages?, public))
}

/// Shares from `frost-core`'s own distributed key generation, for parties 1 … n.
///
/// # Errors
/// That crate's.
pub fn generated<C: Ciphersuite>(
    n: u16,
    t: u16,
    seed: u64,
) -> Result<Packages<C>, frost_core::Error<C>> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (mut secrets, mut firsts) = (BTreeMap::new(), BTreeMap::new());
    for number in 1..=n {
        let me = Identifier::<C>::try_from(number)?;
        let (secret, package) = dkg::part1(me, n, t, &mut rng)?;
        secrets.insert(me, secret);
        firsts.insert(me, package);
    }
    let others = |me: &Identifier<C>| {
        let mut others = firsts.clone();
        others.remove(me);
        others
    };
    let (mut seconds, mut deals) = (BTreeMap::new(), BTreeMap::new());
    for (me, secret) in secrets {
        let (secret, packages) = dkg::part2(secret, &others(&me))?;
        seconds.insert(me, secret);
        deals.insert(me, packages);
    }
    let mut made = Vec::new();
    let mut public = None;
    for (me, secret) in &seconds {
        let to_me =
            deals.iter().filter_map(|(from, packages)| Some((*from, packages.get(me)?.clone())));
        let (key, of_all) = dkg::part3(secret, &others(me), &to_me.collect())?;
        made.push(key);
        public = Some(of_all);
    }
    Ok((made, public.ok_or(frost_core::Error::IncorrectNumberOfPackages)?))
}

/// Terms of a FROST-only key of parties 1 … n.
#[must_use]
pub fn key_terms<G: FrostSuite>(n: u8, threshold: u8) -> FrostTerms {
    FrostTerms {
        suite: G::SUITE,
        network: [1; 16],
        key: [2; 16],
        epoch: 0,
        parties: PartySet::first(n),
        threshold,
        context: [3; 32],
    }
}

/// Takes packages over as a FROST-only key.
///
/// # Errors
/// What does not fit, for people.
pub fn taken_over<G: FrostSuite>(
    terms: FrostTerms,
    (packages, public): &Packages<G::Ciphersuite>,
) -> Result<Vec<FrostKey<G>>, String> {
    let record = PublicRecord::<N>::import::<G>(terms, public).map_err(|e| e.to_string())?;
    let open = |package| {
        let secret = SecretRecord::import::<G, N>(&record, package).map_err(|e| e.to_string())?;
        let party = secret.party;
        FrostKey::open(&record, party, secret).map_err(|e| e.to_string())
    };
    packages.iter().map(open).collect()
}

impl<G: FrostSuite> Scene<G> {
    /// Every party makes a pool of `count` nonces, stores it, and offers it to party 1.
    ///
    /// # Panics
    /// If a pool cannot be made: the test is wrong.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a slip in a test, not input")]
    pub fn new(keys: Vec<FrostKey<G>>, count: usize, seed: u64) -> Self {
        let public = keys.first().expect("a key has holders").public().clone();
        let mut scene =
            Self { offers: Offers::new(&public, id(1)), public, members: BTreeMap::new() };
        for key in keys {
            let me = key.party();
            let pool = NoncePool::generate(&key, 0, count, &mut hedged(me, seed));
            let pool = pool.expect("a pool of that size");
            let mut store = Store::default();
            store.0.insert(*pool.id(), pool.record().expect("nothing was taken").to_vec());
            let offered = scene.offers.take(me, &offer_of(&pool, id(1)));
            offered.expect("an honest offer");
            scene.members.insert(me, Member { key, pool, store });
        }
        scene
    }

    /// A session with party 1 as its coordinator, and the list that it shows.
    ///
    /// # Errors
    /// Why there is no session.
    pub fn begin(&mut self, terms: &Terms) -> Result<Begun<G>, SignError> {
        let aggregator = Aggregator::new(&self.public, terms.clone(), &mut self.offers)?;
        let list = list_of(&aggregator);
        Ok((aggregator, list))
    }

    /// An honest member's share, encoded.
    ///
    /// # Panics
    /// If the member refuses.
    #[expect(clippy::expect_used, reason = "a slip in a test, not input")]
    pub fn answer(&mut self, me: PartyId, terms: &Terms, list: &[u8]) -> Vec<u8> {
        let Member { key, pool, store } = self.members.get_mut(&me).expect("a holder");
        let mut signer = Signer::new(key, terms.clone()).expect("terms that hold");
        let listed = signer.handle_list(terms.coordinator, list).expect("an honest list");
        let reserved = listed.reserve(key, pool).expect("a nonce that is there");
        let consumed = reserved.persist(|change| store.replace(change)).expect("one copy");
        encode(&consumed.sign(key).expect("the key of the session"))
    }

    /// A whole session of honest parties.
    ///
    /// # Errors
    /// Why there is no signature.
    pub fn sign(&mut self, terms: &Terms) -> Result<Signature, String> {
        let (mut aggregator, list) = self.begin(terms).map_err(|error| error.to_string())?;
        let mut signature = None;
        for me in terms.quorum.iter() {
            let share = self.answer(me, terms, &list);
            signature = aggregator.handle_share(me, &share).map_err(|e: Failure| e.to_string())?;
        }
        signature.ok_or_else(|| "shares are missing".into())
    }
}

/// Terms with party 1 as coordinator.
#[must_use]
pub fn terms_of(quorum: PartySet, message: &[u8], tweak: Tweak, seed: u64) -> Terms {
    let (session, message) = (session_of(seed), message.to_vec());
    SignTerms { session, quorum, coordinator: id(1), tweak, message }
}

/// A pool's encoded offer.
#[must_use]
pub fn offer_of<G: FrostGroup>(pool: &NoncePool<G>, to: PartyId) -> Vec<u8> {
    let mut buffer = vec![0; MAX_OFFER];
    pool.offer(to, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

/// An aggregator's encoded list.
#[must_use]
pub fn list_of<G: FrostSuite>(aggregator: &Aggregator<G, Vec<u8>>) -> Vec<u8> {
    let mut buffer = vec![0; MAX_LIST];
    aggregator.list_message(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

/// An encoded share.
#[must_use]
pub fn encode(share: &quorate_core::frost::SignatureShare) -> Vec<u8> {
    let mut buffer = [0; MAX_MESSAGE];
    share.encode(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}
