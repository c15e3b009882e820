//! The cluster, its key and its client; what was asked of it, and whether the books agree.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::Signature;
use quorate_core::hash::Digest;
use quorate_core::policy::ethereum::{
    Address, UnsignedFields, signed_transaction, unsigned_transaction,
};
use quorate_core::policy::{self, Amount};
use quorate_core::request::{
    ClientKey, KeyId, MAX_PAYLOAD, MAX_REQUEST, NetworkId, Payload, SignRequest, SignedRequest,
};
use quorate_node::client::read_client_key;
use quorate_node::handle::KeyInfo;
use quorate_node::membership::Membership;
use quorate_node::message::{Outcome, PeerMessage, Rejection};
use quorate_tests::cluster::{CHAIN, Cluster, Deadlines, FEE, Hsm, RECIPIENT};
use quorate_tests::transaction::judge;
use serde_json::{Value, json};

use crate::evil::id;
use crate::liar::{Answer, HONEST, LIAR, Liar};

/// The client's key, its signature, and two empty lists: of approvals, and of accounts' signatures.
const TAIL: usize = 32 + 64 + 2;
/// One approval.
pub const APPROVAL: usize = 32 + 64;

/// A transfer as a client wishes for it.
#[derive(Clone, Copy, Debug)]
pub struct Pay {
    pub to: &'static str,
    pub value: u64,
    pub chain: u64,
    pub gas_price: u64,
    pub data: &'static [u8],
}

impl Default for Pay {
    fn default() -> Self {
        Self { to: RECIPIENT, value: 1_000, chain: CHAIN, gas_price: 20_000_000_000, data: &[] }
    }
}

impl Pay {
    pub fn transaction(&self) -> Vec<u8> {
        let fields = UnsignedFields {
            chain_id: self.chain,
            nonce: 0,
            max_priority_fee_per_gas: Amount::from_u128(1_000_000_000),
            max_fee_per_gas: Amount::from_u128(self.gas_price.into()),
            gas_limit: 21_000,
            to: Some(Address::from_hex(self.to).unwrap()),
            value: Amount::from_u128(self.value.into()),
            data: self.data,
        };
        unsigned_transaction(&fields, &mut [0; MAX_PAYLOAD]).unwrap().to_vec()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a party says to the liar and writes into its log.
pub fn words(reason: &Rejection) -> String {
    match reason {
        Rejection::Denied { rule, message } => format!("denied by rule {rule}: {message}"),
        Rejection::BadRequest(what) | Rejection::Failed(what) => what.clone(),
        Rejection::UnknownKey => "it has no active share of this key".to_owned(),
        other => panic!("not refused for what it is: {other:?}"),
    }
}

pub struct Scene {
    pub cluster: Cluster,
    pub key: KeyInfo,
    pub liar: Liar,
    pub network: [u8; 16],
    client: SigningKey,
    /// What each party must have in its audit log: the session, and why it was refused.
    refusals: RefCell<Vec<(u16, Digest, String)>>,
    lies: RefCell<Vec<Vec<u8>>>,
    /// What may be counted, with what it costs.
    wishes: RefCell<Vec<(Vec<u8>, u64)>>,
    turn: Cell<u64>,
}

impl Scene {
    /// A key of all four, with one signature, so that all shares are open; then party 4 falls.
    pub fn new(policy: impl FnOnce(&Cluster) -> Value) -> Self {
        // What a case needs must not expire before it is looked at, however slow the machine is.
        let deadlines = Deadlines { key: 60_000, accept: 60_000, sign: 60_000 };
        let mut cluster = Cluster::running(4, Hsm::Software, Some(deadlines));
        let key = cluster.create_key(1, "pay", &policy(&cluster));
        let network = Membership::load(&cluster.root().join("membership.toml")).unwrap().network();
        let text = std::fs::read_to_string(cluster.client_file()).unwrap();
        let client = read_client_key(&text).unwrap();
        let liar = Liar::take_over(&mut cluster, "pay");
        let scene = Self {
            cluster,
            key,
            liar,
            network,
            client,
            refusals: RefCell::default(),
            lies: RefCell::default(),
            wishes: RefCell::default(),
            turn: Cell::default(),
        };
        scene.honest();
        scene
    }

    /// The policy that most need: small payments, and larger ones with two approvals.
    pub fn usual(cluster: &Cluster, approvers: &[SigningKey]) -> Value {
        let pay = json!({ "client": [cluster.client_name()], "chain": [CHAIN], "to": [RECIPIENT] });
        let small = json!({ "all": [
            pay, { "value": { "at_most": "5000 wei" } }, { "fee": { "at_most": "0.01 ether" } },
            { "data": "none" },
        ] });
        let mut rules = vec![json!({
            "name": "small", "when": small,
            "limits": [{ "measure": "signatures", "max": 100, "per": "1day" }],
        })];
        if !approvers.is_empty() {
            let keys = approvers.iter().map(|key| ClientKey(key.verifying_key().to_bytes()));
            let keys: Vec<String> = keys.map(|key| key.to_string()).collect();
            let large = json!({ "all": [pay, { "approvals": { "at_least": 2, "of": keys } }] });
            rules.push(json!({ "name": "large", "when": large }));
        }
        json!({ "rules": rules })
    }

    /// A wish of its own for each call.
    pub fn wish<'p>(&self, payload: Payload<'p>) -> SignRequest<'p> {
        let key: [u8; 16] = hex::decode(&self.key.key).unwrap().try_into().unwrap();
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.turn.replace(self.turn.get() + 1).to_be_bytes());
        SignRequest {
            network: NetworkId(self.network),
            key: KeyId(key),
            derivation: Derivation::Root,
            payload,
            label: "rent",
            expires: now() + 3_600,
            nonce,
        }
    }

    /// Signed by the client.
    pub fn signed(&self, wish: &SignRequest<'_>) -> Vec<u8> {
        wish.sign(&self.client, &mut [0; MAX_REQUEST]).unwrap().to_vec()
    }

    /// A request for a transfer.
    pub fn pay(&self, pay: &Pay) -> Vec<u8> {
        let transaction = pay.transaction();
        self.signed(&self.wish(Payload::EthereumTransaction(&transaction)))
    }

    /// The same for one that may be counted.
    pub fn pay_well(&self, pay: &Pay) -> Vec<u8> {
        let request = self.pay(pay);
        self.may_count(&request, pay);
        request
    }

    pub fn may_count(&self, request: &[u8], pay: &Pay) {
        self.wishes.borrow_mut().push((request.to_vec(), pay.value));
    }

    /// `wish` under the signature that the client made for another one.
    pub fn under_old_signature(&self, wish: &SignRequest<'_>, old: &[u8]) -> Vec<u8> {
        let new = self.signed(wish);
        [&new[..new.len() - TAIL], &old[old.len() - TAIL..]].concat()
    }

    /// Parties 1 to 3 sign without party 4, each coordinating in turn.
    pub fn honest(&self) {
        let request = self.pay_well(&Pay::default());
        let at = HONEST[self.turn.get() as usize % HONEST.len()];
        let signed = self.cluster.client(at).sign(&request);
        let signed = signed.unwrap_or_else(|e| panic!("party {at} does not sign: {e}"));
        assert_eq!(signed.signers, HONEST);
        let verdict = judge(signed.raw_transaction.as_deref().unwrap());
        assert_eq!(verdict.sender, self.key.address.to_lowercase());
    }

    /// Each party refuses to sign `lie` and says `why`; a start of the session that it refused gives
    /// nothing; and the next honest request is signed.
    pub fn refused_by_all(&self, lie: &[u8], why: &str) {
        for party in HONEST {
            self.refused_by(party, lie, why);
        }
        self.honest();
    }

    pub fn refused_by(&self, party: u16, lie: &[u8], why: &str) {
        let nonce = self.liar.fresh_nonce();
        match self.liar.propose(party, &nonce, lie) {
            Answer::Rejected(reason) => {
                let said = words(&reason);
                assert!(said.contains(why), "party {party}: {said:?} is not {why:?}");
                self.must_be_in_the_log(party, self.liar.session_of(&nonce, lie), &said);
            }
            other => panic!("party {party} was to refuse ({why}): {other:?}"),
        }
        let session = self.liar.session_of(&nonce, lie);
        let quorum = if party == 3 { [2, 3, LIAR] } else { [1, 2, LIAR] };
        let salts = quorum.iter().map(|party| (id(*party), [0; 32])).collect();
        let quorum = quorum.iter().map(|party| id(*party)).collect();
        self.liar.evil.send(party, &PeerMessage::StartSign { session, quorum, salts });
        self.lies.borrow_mut().push(lie.to_vec());
        self.fence(party);
    }

    pub fn must_be_in_the_log(&self, party: u16, session: Digest, why: &str) {
        self.refusals.borrow_mut().push((party, session, why.to_owned()));
    }

    /// Whatever `party` had to say to earlier messages has arrived, and was not too much.
    pub fn fence(&self, party: u16) {
        let (nonce, request) = (self.liar.fresh_nonce(), self.pay(&Pay::default()));
        let answer = self.liar.propose(party, &nonce, &request);
        assert!(matches!(answer, Answer::Accepted(_)), "party {party}: {answer:?}");
        let session = self.liar.session_of(&nonce, &request);
        self.liar.evil.send(party, &PeerMessage::CancelSign { session });
        self.liar.nothing_leaked();
    }

    /// The transaction of `request` with this signature is the key's.
    pub fn is_the_keys(&self, request: &[u8], signature: &Signature) {
        let Payload::EthereumTransaction(unsigned) =
            SignedRequest::parse(request).unwrap().payload()
        else {
            panic!("no transaction")
        };
        let (odd, mut buffer) = (signature.recovery_id & 1 == 1, [0; MAX_PAYLOAD]);
        let raw = signed_transaction(unsigned, odd, &signature.r, &signature.s, &mut buffer);
        let verdict = judge(&format!("0x{}", hex::encode(raw.unwrap())));
        assert_eq!(verdict.sender, self.key.address.to_lowercase());
    }

    /// All records of a party's audit log.
    pub fn audit(&self, party: u16) -> Vec<Value> {
        let (mut records, mut from) = (Vec::new(), 1);
        loop {
            let page = self.cluster.client(party).audit(from).unwrap();
            let Some(last) = page.entries.last() else { return records };
            from = last.number + 1;
            let texts = page.entries.iter().filter_map(|entry| entry.record.as_deref());
            records.extend(texts.map(|text| serde_json::from_str::<Value>(text).unwrap()));
        }
    }

    /// How often a party has released something for a request.
    pub fn releases(&self, party: u16, request: &[u8]) -> usize {
        let hash = hex::encode(SignedRequest::parse(request).unwrap().hash());
        let of_it =
            |record: &&Value| record["event"] == "released" && record["request"] == hash.as_str();
        self.audit(party).iter().filter(of_it).count()
    }

    /// A request that nobody may count, though some accepted its proposal.
    pub fn is_a_lie(&self, request: &[u8]) {
        self.lies.borrow_mut().push(request.to_vec());
    }

    /// Tells `party` of a signature, as the coordinator of its session does.
    pub fn show(&self, party: u16, request: &[u8], signature: &Signature) {
        let outcome = Outcome {
            r: signature.r,
            s: signature.s,
            y_parity: signature.recovery_id & 1 == 1,
            quorum: [1, 2, LIAR].map(id).into_iter().collect(),
            session: [0x55; 32],
        };
        let (session, request) = ([0x55; 32], request.to_vec());
        self.liar.evil.send(party, &PeerMessage::Signed { session, request, outcome });
    }

    /// At the end: every refusal is in the audit log of who refused, no lie was counted, and what was
    /// counted was counted once.
    pub fn settle(mut self) {
        self.liar.forget();
        for party in HONEST {
            let refused: BTreeMap<String, String> = self
                .audit(party)
                .iter()
                .filter(|record| record["event"] == "refused" && record["coordinator"] == LIAR)
                .map(|record| {
                    let text = |name: &str| record[name].as_str().unwrap().to_owned();
                    (text("session"), text("reason"))
                })
                .collect();
            for (_, session, why) in self.refusals.borrow().iter().filter(|(by, ..)| *by == party) {
                let logged = refused.get(&hex::encode(session));
                assert_eq!(logged, Some(why), "party {party} has this in its audit log");
            }
        }
        self.cluster.terminate_all();
        for party in HONEST {
            self.cluster.store(party).audit_verify().unwrap();
            let counted = |request: &[u8]| self.cluster.counted(party, request);
            let lies = self.lies.borrow();
            let whole = lies.iter().filter(|lie| SignedRequest::parse(lie).is_ok());
            assert!(!whole.clone().any(|lie| counted(lie)), "party {party} counted a lie");
            let wishes = self.wishes.borrow();
            let costs = wishes.iter().filter(|(request, _)| counted(request));
            let costs: u128 = costs.map(|(_, value)| u128::from(value + FEE)).sum();
            assert!(costs > 0);
            assert_eq!(self.cluster.spent(party, &self.key), costs, "party {party}");
        }
    }
}

/// What is signed for a transaction.
pub fn digest_of(transaction: &[u8]) -> Digest {
    policy::digest(&Payload::EthereumTransaction(transaction)).unwrap()
}

/// The request with one approval more.
pub fn approved(request: &[u8], approver: &SigningKey) -> Vec<u8> {
    let parsed = SignedRequest::parse(request).unwrap();
    parsed.approve(approver, &mut [0; MAX_REQUEST]).unwrap().to_vec()
}
