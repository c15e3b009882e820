//! FROST with a device: two of four, and nonces that are used once.

use k256::schnorr::signature::hazmat::PrehashVerifier as _;
use quorate_core::curve::SchnorrSecp256k1 as G;
use quorate_core::device::link::{Event, Request};
use quorate_core::frost::{
    Aggregator, FrostKey, MAX_LIST, MAX_MESSAGE, NoncePool, Offers, SignTerms, Signature, Signer,
};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::Kinds;
use quorate_core::request::Payload;
use quorate_core::schnorr::Tweak;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_firmware::message::{self, kind};
use quorate_firmware::platform::Button;

use super::group::{Key, accepted_salt, make_key, propose_signature, rejection};
use super::node::id;
use super::policies::{policy, request, rule};
use super::world::{ME, Said, World};

type Terms = SignTerms<Digest>;

fn pair() -> PartySet {
    [1, ME].into_iter().filter_map(PartyId::new).collect()
}

fn treasury() -> (World, Key<G>) {
    let any = policy(&[rule(
        "digests",
        Kinds::DIGEST,
        &[],
        &super::policies::before(super::world::NOW + 86_400),
    )]);
    let mut world = World::joined();
    let key = make_key::<G>(&mut world, &any, "frost", 1);
    (world, key)
}

/// Party 1, which coordinates.
struct Host {
    key: FrostKey<G>,
    offers: Offers<G>,
    pool: NoncePool<G>,
}

impl Host {
    fn new(key: &Key<G>) -> Self {
        let key = FrostKey::of(&key.public, &key.members[0]).unwrap();
        let mut rng = HedgedRng::new(&[1; 32], &SecretBytes::new([2; 32]), &[3; 32], 0);
        let pool = NoncePool::generate(&key, 0, 8, &mut rng).unwrap();
        let mut offers = Offers::new(key.public(), id(1));
        offers.take(id(1), pool.offer(id(1), &mut [0; 4096]).unwrap()).unwrap();
        Self { key, offers, pool }
    }

    /// The list that is shown, after the device has offered its commitments.
    fn list(&mut self, world: &mut World, terms: Terms) -> (Aggregator<G, Digest>, Vec<u8>) {
        let offer = carried(world).expect("an offer");
        self.offers.take(id(ME), &offer).unwrap();
        let aggregator = Aggregator::new(self.key.public(), terms, &mut self.offers).unwrap();
        let list = aggregator.list_message(&mut vec![0; MAX_LIST]).unwrap().to_vec();
        (aggregator, list)
    }

    fn finish(
        &mut self,
        terms: Terms,
        (mut aggregator, list): (Aggregator<G, Digest>, Vec<u8>),
        device: &[u8],
    ) -> Signature {
        let listed = Signer::new(&self.key, terms).unwrap().handle_list(id(1), &list).unwrap();
        let reserved = listed.reserve(&self.key, &mut self.pool).unwrap();
        let consumed = reserved.persist(|_| Ok::<_, ()>(())).unwrap();
        let share = consumed.sign(&self.key).unwrap();
        let own = share.encode(&mut [0; MAX_MESSAGE]).unwrap().to_vec();
        assert!(aggregator.handle_share(id(1), &own).unwrap().is_none());
        aggregator.handle_share(id(ME), device).unwrap().expect("a signature")
    }
}

/// The next message of the protocol.
fn carried(world: &mut World) -> Option<Vec<u8>> {
    let body = world.node(id(1)).next(kind::SIGNING)?;
    Some(message::read::<message::Signing<'_>>(&body).unwrap().bytes.to_vec())
}

/// A session with parties 1 and 4, up to the start.
fn begin(world: &mut World, number: u8, digest: Digest) -> Terms {
    let request = request(1, Payload::Digest(digest), number);
    let session = propose_signature(world, number, &request);
    let salt = accepted_salt(world, &session);
    let salts = [(id(1), [0x11; 32]), (id(ME), salt)].into_iter().collect();
    let quorum = pair();
    world.node(id(1)).send(&message::StartSign { session, quorum, salts });
    world.pump();
    SignTerms { session, quorum, coordinator: id(1), tweak: Tweak::None, message: digest }
}

fn show(world: &mut World, list: &[u8]) -> Option<Vec<u8>> {
    world.node(id(1)).send(&message::Signing { bytes: list });
    world.pump();
    carried(world)
}

#[test]
fn any_two_sign_and_an_outside_library_verifies_it() {
    let (mut world, key) = treasury();
    let mut host = Host::new(&key);
    for number in 1..=10 {
        let digest = [number; 32];
        let terms = begin(&mut world, number, digest);
        assert_eq!(world.status().log.1, u64::from(number) - 1, "nothing is counted yet");
        if number == 8 {
            let mut rng = HedgedRng::new(&[9; 32], &SecretBytes::new([2; 32]), &[3; 32], 0);
            host.pool = NoncePool::generate(&host.key, 0, 8, &mut rng).unwrap();
            let offer = host.pool.offer(id(1), &mut [0; 4096]).unwrap().to_vec();
            host.offers = Offers::new(host.key.public(), id(1));
            host.offers.take(id(1), &offer).unwrap();
        }
        let (aggregator, list) = host.list(&mut world, terms);
        let share = show(&mut world, &list).expect("a share");
        assert_eq!(world.status().log.1, u64::from(number));
        let signature = host.finish(terms, (aggregator, list), &share);
        let name: &[u8; 32] = key.public.group_key().unwrap().0.last_chunk().unwrap();
        let verifier = k256::schnorr::VerifyingKey::from_bytes(name).unwrap();
        let signature = k256::schnorr::Signature::try_from(&signature.0[..]).unwrap();
        verifier.verify_prehash(&digest, &signature).unwrap();
    }
}

#[test]
fn the_same_list_gets_the_same_answer_also_after_a_power_cut() {
    let (mut world, key) = treasury();
    let mut host = Host::new(&key);
    let terms = begin(&mut world, 1, [1; 32]);
    let (_, list) = host.list(&mut world, terms);
    let share = show(&mut world, &list).expect("a share");
    assert_eq!(show(&mut world, &list), Some(share.clone()));
    world.reboot();
    assert_eq!(show(&mut world, &list), Some(share));
    assert_eq!(world.status().log, (0, 1), "it is one release");
}

#[test]
fn a_nonce_answers_one_list_only_also_after_a_power_cut() {
    let (mut world, key) = treasury();
    let mut host = Host::new(&key);
    let terms = begin(&mut world, 1, [1; 32]);
    let offer = carried(&mut world).unwrap();
    host.offers.take(id(ME), &offer).unwrap();
    let aggregator = Aggregator::new(host.key.public(), terms, &mut host.offers).unwrap();
    let list = aggregator.list_message(&mut vec![0; MAX_LIST]).unwrap().to_vec();
    show(&mut world, &list).expect("a share");
    for reboot in [false, true] {
        if reboot {
            world.reboot();
        }
        // Another session, whose list names the commitment that was used.
        let terms = begin(&mut world, 2 + u8::from(reboot), [2; 32]);
        carried(&mut world).expect("an offer");
        let mut stale = Offers::new(host.key.public(), id(1));
        stale.take(id(ME), &offer).unwrap();
        stale.take(id(1), host.pool.offer(id(1), &mut [0; 4096]).unwrap()).unwrap();
        let again = Aggregator::new(host.key.public(), terms, &mut stale).unwrap();
        let list = again.list_message(&mut vec![0; MAX_LIST]).unwrap().to_vec();
        world.node(id(1)).send(&message::Signing { bytes: &list });
        world.pump();
        let why = rejection(&mut world, kind::REJECT_SIGN);
        assert_eq!(why, "failed: the device's own commitment is not there");
    }
}

#[test]
fn one_session_answers_one_list_only() {
    let (mut world, key) = treasury();
    let mut host = Host::new(&key);
    let terms = begin(&mut world, 1, [1; 32]);
    let (_, list) = host.list(&mut world, terms);
    let other = Aggregator::new(host.key.public(), terms, &mut host.offers).unwrap();
    let other = other.list_message(&mut vec![0; MAX_LIST]).unwrap().to_vec();
    assert_ne!(list, other);
    show(&mut world, &list).expect("a share");
    assert_eq!(show(&mut world, &other), None);
}

/// The whole flash is put back, and the entropy source repeats: the nonce that was used is there again.
#[test]
fn after_a_rollback_nothing_is_signed_until_the_operator_accepts_it_and_old_nonces_never() {
    let (mut world, key) = treasury();
    let mut host = Host::new(&key);
    let terms = begin(&mut world, 1, [1; 32]);
    let offer = carried(&mut world).unwrap();
    host.offers.take(id(ME), &offer).unwrap();
    let aggregator = Aggregator::new(host.key.public(), terms, &mut host.offers).unwrap();
    let list = aggregator.list_message(&mut vec![0; MAX_LIST]).unwrap().to_vec();
    let before = world.flash.snapshot();
    show(&mut world, &list).expect("a share");
    let head: message::Head = {
        let mut found = None;
        while let Some(body) = world.node(id(2)).next(kind::HEAD) {
            found = Some(message::read(&body).unwrap());
        }
        found.expect("the device has announced its head")
    };
    world.flash.restore(&before);
    world.node(id(2)).recall = Some(head.head);
    world.reboot();
    let second = request(1, Payload::Digest([2; 32]), 2);
    propose_signature(&mut world, 2, &second);
    let why = rejection(&mut world, kind::REJECT_SIGN);
    assert_eq!(why, "failed: the device was put back to an earlier state");
    assert_eq!(world.ask_person(Request::Readmit, Button::Confirm), Said::Done);
    let terms = begin(&mut world, 3, [3; 32]);
    let renewed = carried(&mut world).expect("an offer");
    assert_ne!(renewed, offer, "the old pool is of an older generation");
    let mut stale = Offers::new(host.key.public(), id(1));
    stale.take(id(ME), &offer).unwrap();
    stale.take(id(1), host.pool.offer(id(1), &mut [0; 4096]).unwrap()).unwrap();
    let again = Aggregator::new(host.key.public(), terms, &mut stale).unwrap();
    let list = again.list_message(&mut vec![0; MAX_LIST]).unwrap().to_vec();
    world.node(id(1)).send(&message::Signing { bytes: &list });
    world.pump();
    rejection(&mut world, kind::REJECT_SIGN);
    assert!(!world.events.contains(&Event::Misbehaved(id(1))));
}
