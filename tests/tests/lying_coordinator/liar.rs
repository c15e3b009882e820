//! Party 4 in the hands of a liar, who coordinates sessions and holds a share of the key.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use quorate_core::curve::Secp256k1;
use quorate_core::ecdsa::{Combiner, MAX_MESSAGE, Salt, SignTerms, Signature, Signer};
use quorate_core::hash::Digest;
use quorate_core::key::{Confirmation, OpenedKey};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::request::SignedRequest;
use quorate_core::session::Header;
use quorate_core::wire;
use quorate_node::config::{Config, Folder};
use quorate_node::membership::Membership;
use quorate_node::message::{Outcome, PeerMessage, Rejection, sign_session};
use quorate_node::sealing::{open_hsm, open_identity};
use quorate_node::service::records::{Public, Record, row_context};
use quorate_node::service::{MAX_NONCE_KEYS, MAX_PARTIES, MAX_QUORUM};
use quorate_tests::cluster::Cluster;

use crate::evil::{Evil, id};
use crate::node_process::wait_for;

pub const LIAR: u16 = 4;
pub const HONEST: [u16; 3] = [1, 2, 3];

type Opened = OpenedKey<Secp256k1, MAX_PARTIES, MAX_NONCE_KEYS>;

/// What a party says to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted(Salt),
    Rejected(Rejection),
    Signed(Outcome),
}

/// A session that its quorum has accepted, with the liar's own part in it.
pub struct Session {
    pub id: Digest,
    pub quorum: PartySet,
    pub salts: Vec<(PartyId, Salt)>,
    terms: SignTerms,
    signer: Signer<Secp256k1, MAX_QUORUM>,
}

impl Session {
    pub fn inputs(&self) -> Digest {
        *self.signer.session()
    }

    /// R_4.
    pub fn nonce_point(&self) -> Vec<u8> {
        self.signer.nonce_message(&mut [0; MAX_MESSAGE]).unwrap().to_vec()
    }

    pub fn own_salt(&self) -> Salt {
        self.salts.iter().find(|(party, _)| *party == id(LIAR)).unwrap().1
    }

    fn others(&self) -> impl Iterator<Item = u16> {
        self.quorum.without(id(LIAR)).iter().map(PartyId::number)
    }
}

pub struct Liar {
    pub evil: Evil,
    key: Opened,
    public: Public,
    next: Cell<u64>,
    /// All that it was ever told.
    heard: RefCell<Vec<(u16, PeerMessage)>>,
    /// D0 of sessions in which a nonce point may leave, and of those in which a share may.
    may_start: RefCell<BTreeSet<Digest>>,
    may_answer: RefCell<BTreeSet<Digest>>,
}

impl Liar {
    /// Party 4 ends, and somebody with all its secrets joins in its place.
    pub fn take_over(cluster: &mut Cluster, name: &str) -> Self {
        cluster.terminate(LIAR);
        let folder = Folder::new(cluster.folder(LIAR));
        let config = Config::load(&folder).unwrap();
        let hsm = open_hsm(&folder, &config).unwrap();
        let identity = open_identity(&folder, &config, &hsm).unwrap();
        let rows = cluster.store(LIAR).keys().unwrap();
        let row = rows.into_iter().find(|row| row.name == name).unwrap();
        let public: Public = wire::decode(&row.public).unwrap();
        let context = row_context(public.terms.network, id(LIAR), &public, &row);
        let plaintext = quorate_hsm::open(&*hsm.protector, &context, &row.sealed).unwrap();
        let record: Record = wire::decode(&plaintext).unwrap();
        let own: Confirmation<MAX_PARTIES, MAX_NONCE_KEYS> =
            wire::decode(&row.confirmations[&LIAR]).unwrap();
        let key = Opened::open(&public, id(LIAR), record, &own).unwrap();
        let membership = cluster.root().join("membership.toml");
        let member = Membership::load(&membership).unwrap().member(LIAR).unwrap().clone();
        let evil = Evil::join(LIAR, identity, &membership, member.address.parse().unwrap());
        let (next, heard) = (Cell::new(0), RefCell::default());
        let (may_start, may_answer) = Default::default();
        let liar = Self { evil, key, public, next, heard, may_start, may_answer };
        liar.wait_linked();
        liar
    }

    /// Each party says first on a link what it knows of the other's past. What was heard before is
    /// forgotten.
    pub fn wait_linked(&self) {
        let linked = |party| {
            self.wait(&format!("a link to party {party}"), |from, message| {
                (from == party && matches!(message, PeerMessage::Recall(_))).then_some(())
            });
        };
        HONEST.into_iter().for_each(linked);
    }

    pub fn forget(&self) {
        while let Some(message) = self.evil.poll() {
            self.heard.borrow_mut().push(message);
        }
        self.nothing_leaked();
        self.heard.borrow_mut().clear();
    }

    /// What it hears, or has heard already.
    pub fn wait<T>(&self, what: &str, wanted: impl Fn(u16, &PeerMessage) -> Option<T>) -> T {
        let looked = Cell::new(0);
        wait_for(what, || {
            if let Some(message) = self.evil.poll() {
                self.heard.borrow_mut().push(message);
            }
            let heard = self.heard.borrow();
            let new = &heard[looked.replace(heard.len())..];
            new.iter().find_map(|(from, message)| wanted(*from, message))
        })
    }

    pub fn fresh_nonce(&self) -> [u8; 32] {
        let mut nonce = [0x4c; 32];
        nonce[..8].copy_from_slice(&self.next.replace(self.next.get() + 1).to_be_bytes());
        nonce
    }

    pub fn session_of(&self, nonce: &[u8; 32], request: &[u8]) -> Digest {
        sign_session(&self.evil.network_id, id(LIAR), nonce, request)
    }

    /// Proposes a session; what `party` answers.
    pub fn propose(&self, party: u16, nonce: &[u8; 32], request: &[u8]) -> Answer {
        let wanted = self.session_of(nonce, request);
        let proposal = PeerMessage::ProposeSign { nonce: *nonce, request: request.to_vec() };
        self.evil.send(party, &proposal);
        self.wait(&format!("an answer of party {party}"), |from, message| match message {
            _ if from != party => None,
            PeerMessage::AcceptSign { session, salt } if *session == wanted => {
                Some(Answer::Accepted(*salt))
            }
            PeerMessage::RejectSign { session, reason } if *session == wanted => {
                Some(Answer::Rejected(reason.clone()))
            }
            PeerMessage::AlreadySigned { session, outcome } if *session == wanted => {
                Some(Answer::Signed(outcome.clone()))
            }
            _ => None,
        })
    }

    /// The last word of `party` on a session.
    pub fn rejection(&self, party: u16, session: &Digest) -> Rejection {
        self.wait(&format!("a refusal of party {party}"), |from, message| match message {
            PeerMessage::RejectSign { session: of, reason } if from == party && of == session => {
                Some(reason.clone())
            }
            _ => None,
        })
    }

    /// Proposes a session to `others` and takes part in it, as if `digest` were what it is about. Nothing
    /// has started.
    pub fn open(&self, request: &[u8], digest: Digest, others: &[u16]) -> Session {
        let nonce = self.fresh_nonce();
        let salt = |party: &u16| match self.propose(*party, &nonce, request) {
            Answer::Accepted(salt) => (id(*party), salt),
            other => panic!("party {party} does not accept: {other:?}"),
        };
        let mut salts: Vec<(PartyId, Salt)> = others.iter().map(salt).collect();
        salts.push((id(LIAR), nonce));
        let derivation = *SignedRequest::parse(request).unwrap().derivation();
        let quorum = salts.iter().map(|(party, _)| *party).collect();
        let terms = SignTerms { quorum, coordinator: id(LIAR), derivation, digest };
        let signer = Signer::new(&self.key, terms, &salts, &nonce).unwrap();
        Session { id: self.session_of(&nonce, request), quorum, salts, terms, signer }
    }

    /// The same session as it is with another digest, or another salt of the liar's.
    pub fn twin(&self, session: &Session, digest: Digest, salt: Salt) -> Session {
        let mut salts = session.salts.clone();
        salts.iter_mut().filter(|(of, _)| *of == id(LIAR)).for_each(|(_, own)| *own = salt);
        let terms = SignTerms { digest, ..session.terms };
        let signer = Signer::new(&self.key, terms, &salts, &salt).unwrap();
        Session { id: session.id, quorum: session.quorum, salts, terms, signer }
    }

    /// As any coordinator starts it. From here on each party may send its nonce point.
    pub fn start(&self, session: &Session) {
        session.others().for_each(|party| self.start_at(party, session));
    }

    pub fn start_at(&self, party: u16, session: &Session) {
        self.may_start.borrow_mut().insert(session.inputs());
        self.say_start(party, session);
    }

    pub fn say_start(&self, party: u16, session: &Session) {
        let Session { id, quorum, salts, .. } = session;
        let (session, quorum, salts) = (*id, *quorum, salts.clone());
        self.evil.send(party, &PeerMessage::StartSign { session, quorum, salts });
    }

    /// A message of round 1 or 2 from `party`.
    pub fn core_message(&self, party: u16, round: u8, inputs: &Digest) -> Vec<u8> {
        let what = format!("round {round} of party {party}");
        self.wait(&what, |from, message| match message {
            PeerMessage::Ecdsa(bytes) if from == party => {
                let header = Header::peek(bytes).unwrap();
                (header.round == round && header.session == *inputs).then(|| bytes.clone())
            }
            _ => None,
        })
    }

    /// The rest of a started session, all by the rules.
    pub fn complete(&self, mut session: Session) -> Signature {
        let inputs = session.inputs();
        self.may_answer.borrow_mut().insert(inputs);
        let mut combiner =
            Combiner::<Secp256k1, MAX_QUORUM>::new(&self.public, session.terms, &session.salts)
                .unwrap();
        let own = session.nonce_point();
        assert_eq!(combiner.handle_nonce(id(LIAR), &own), Ok(None));
        let others: Vec<u16> = session.others().collect();
        others.iter().for_each(|to| self.evil.send(*to, &PeerMessage::Ecdsa(own.clone())));
        let mut share = None;
        for party in &others {
            let bytes = self.core_message(*party, 1, &inputs);
            assert_eq!(combiner.handle_nonce(id(*party), &bytes), Ok(None));
            share = session.signer.handle_nonce(&self.key, id(*party), &bytes).unwrap().or(share);
        }
        let own = share.unwrap().encode(&mut [0; MAX_MESSAGE]).unwrap().to_vec();
        let mut signature = combiner.handle_share(id(LIAR), &own).unwrap();
        for party in &others {
            let bytes = self.core_message(*party, 2, &inputs);
            signature = combiner.handle_share(id(*party), &bytes).unwrap().or(signature);
        }
        signature.unwrap()
    }

    /// No nonce point and no share has come but in the sessions in which one may.
    pub fn nothing_leaked(&self) {
        for (from, message) in self.heard.borrow().iter() {
            let PeerMessage::Ecdsa(bytes) = message else { continue };
            let Header { session, round, .. } = Header::peek(bytes).unwrap();
            let (starts, answers) = (self.may_start.borrow(), self.may_answer.borrow());
            let allowed = if round == 1 { &starts } else { &answers };
            assert!(allowed.contains(&session), "party {from} gave away its round {round}");
        }
    }
}
