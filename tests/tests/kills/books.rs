//! What was asked and what was given, and whether the parties' own counts agree with it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_node::handle::{KeyInfo, Signed};
use quorate_tests::cluster::{Cluster, FEE, Transfer};

/// One request; it may be asked many times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// Under the key whose window has little room.
    pub(crate) tight: bool,
}

pub(crate) struct Books {
    free: KeyInfo,
    tight: KeyInfo,
    /// Keys that a coordinator called made: id and public key.
    made: BTreeMap<String, String>,
    asked: Vec<Request>,
    /// All signatures that came back, by request.
    signed: BTreeMap<Request, Vec<Signed>>,
    nonce: u64,
    room: u64,
}

impl Books {
    pub(crate) fn new(free: KeyInfo, tight: KeyInfo) -> Self {
        let made = BTreeMap::new();
        let (asked, signed) = (Vec::new(), BTreeMap::new());
        let mut books = Self { free, tight, made, asked, signed, nonce: 0, room: super::ROOM };
        books.made(books.free.clone());
        books.made(books.tight.clone());
        books
    }

    pub(crate) fn key(&self, tight: bool) -> &KeyInfo {
        if tight { &self.tight } else { &self.free }
    }

    pub(crate) fn made(&mut self, key: KeyInfo) {
        self.made.insert(key.key, key.public_key);
    }

    pub(crate) fn made_keys(&self) -> &BTreeMap<String, String> {
        &self.made
    }

    pub(crate) fn next_nonce(&mut self) -> u64 {
        self.nonce += 1;
        self.nonce
    }

    pub(crate) fn asked(&mut self, request: Request) -> Request {
        self.asked.push(request.clone());
        request
    }

    pub(crate) fn signed(&mut self, request: &Request, signed: Signed) {
        self.signed.entry(request.clone()).or_default().push(signed);
    }

    /// Whether some party may have no room for this request: not before more were asked than that.
    pub(crate) fn may_be_full(&self, request: &Request) -> bool {
        let asked = self.asked.iter().filter(|request| request.tight).count() as u64;
        request.tight && asked > self.room
    }

    /// With all parties stopped: each counted each request at most once, within its limit; who signed
    /// counted.
    pub(crate) fn balance(&self, cluster: &Cluster, room: u64) {
        let one = u128::from(Transfer::default().value) + u128::from(FEE);
        let mut full = 0;
        for party in cluster.ids() {
            cluster.store(party).audit_verify().unwrap();
            for tight in [false, true] {
                let asked = self.asked.iter().filter(|request| request.tight == tight);
                let counted =
                    asked.filter(|request| cluster.counted(party, &request.bytes)).count();
                let spent = cluster.spent(party, self.key(tight));
                assert_eq!(spent, one * counted as u128, "party {party}, tight: {tight}");
                if tight {
                    assert!(counted as u64 <= room, "party {party} counted {counted}");
                    full += usize::from(counted as u64 == room);
                }
            }
        }
        assert!(full >= 2, "the window was used up, so no quorum has room, but {full} are full");
        let signed_tight: BTreeSet<&Request> =
            self.signed.keys().filter(|request| request.tight).collect();
        assert!(3 * signed_tight.len() as u64 <= 4 * room, "{} signed", signed_tight.len());
        println!("{} of {room} requests signed under the tight key", signed_tight.len());
        for (request, signatures) in &self.signed {
            for party in signatures.iter().flat_map(|signed| &signed.signers) {
                let counted = cluster.counted(*party, &request.bytes);
                assert!(counted, "party {party} signed what it did not count");
            }
        }
    }
}
