//! The core's forms: every message of every protocol, records, policy, request, transactions.

use quorate_core::curve::Secp256k1;
use quorate_core::curve::{EcdsaGroup, Ed25519, Fixed, P256, SchnorrGroup, SchnorrSecp256k1};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Dkg, Evidence, Lent};
use quorate_core::frost::{PublicRecord, SecretRecord};
use quorate_core::key::{Confirmation, KeyTerms, PublicKey, ShareRecord};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::Policy;
use quorate_core::policy::control::SignedChange;
use quorate_core::policy::ethereum::TypedData;
use quorate_core::policy::ethereum::abi::{Signature, Types};
use quorate_core::request::{KeyId, SignedRequest, Veto};
use quorate_core::schnorr::Tweak;
use quorate_core::session::{Header, Protocol};
use quorate_tests::controllers::Changes;
use quorate_tests::fuzz::TARGETS;
use quorate_tests::simulator::forge::{
    Commit, Complaint, Deal, Forged, Nonce, Open, Response, Share, kind,
};
use quorate_tests::simulator::frost::forge as frost;
use quorate_tests::simulator::schnorr::{sign as sign_schnorr, terms_of};
use quorate_tests::simulator::{
    K, N, Network, Packet, Weather, group_on, id, session_of, sign_derived,
};

use super::{Form, encoded};

/// Where the values of the fuzz targets' seeds are fixed values too.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    (TARGETS.iter().find(|known| known.name == target).unwrap().seeds)()
}

pub fn forms() -> Vec<Form> {
    let mut forms = dkg();
    forms.extend(evidence());
    forms.extend(frost());
    forms.extend(header());
    forms.extend(ecdsa::<Secp256k1>("secp256k1"));
    forms.extend(ecdsa::<P256>("p256"));
    forms.extend(schnorr::<SchnorrSecp256k1>("bip340", Tweak::Taproot { merkle_root: None }));
    forms.extend(schnorr::<Ed25519>("ed25519", Tweak::None));
    forms.extend(records::<Secp256k1>("secp256k1"));
    forms.extend(records::<P256>("p256"));
    forms.extend(records::<SchnorrSecp256k1>("bip340"));
    forms.extend(records::<Ed25519>("ed25519"));
    forms.extend(requests());
    forms
}

fn header() -> [Form; 2] {
    let to_all = Header {
        version: 1,
        suite: Secp256k1::SUITE,
        protocol: Protocol::Dkg,
        round: 2,
        session: [0x5e; 32],
        from: id(3),
        to: None,
    };
    let private = Header { protocol: Protocol::Schnorr, to: Some(id(255)), ..to_all };
    [Form::of("core-header-to-all", &to_all), Form::of("core-header-private", &private)]
}

/// R1, R2, R3 and the two complaints.
fn dkg() -> Vec<Form> {
    let form = |(name, bytes): (String, Vec<u8>)| {
        let full = format!("core-dkg-{name}");
        match name.as_str() {
            "round-1" => Form::read_as::<Forged<Commit>>(full, bytes),
            "round-2" => Form::read_as::<Forged<Open>>(full, bytes),
            "round-3" => Form::read_as::<Forged<Deal>>(full, bytes),
            "bad-deal" | "echo" => Form::read_as::<Forged<Complaint>>(full, bytes),
            other => unreachable!("{other}"),
        }
    };
    seeds("dkg_message").into_iter().map(form).collect()
}

fn evidence() -> Vec<Form> {
    let again = |bytes: &[u8]| {
        let mut buffer = [0; Dkg::<Secp256k1, N, K>::MAX_EVIDENCE];
        let evidence = Evidence::<N, Lent<'_>>::decode(bytes).ok()?;
        Some(evidence.encode(&mut buffer).ok()?.to_vec())
    };
    let form = |(name, bytes)| Form::new(format!("core-evidence-{name}"), bytes, again);
    seeds("evidence").into_iter().map(form).collect()
}

/// R1, R2, R3 and what is stored, in both suites.
fn frost() -> Vec<Form> {
    let form = |(name, bytes): (String, Vec<u8>)| {
        let full = format!("core-frost-{name}");
        match name.split_once('-').unwrap().1 {
            "round-1" => Form::read_as::<frost::Offer>(full, bytes),
            "round-2" => Form::read_as::<frost::List>(full, bytes),
            "round-3" => Form::read_as::<frost::Share>(full, bytes),
            "public-record" => Form::read_as::<PublicRecord<N>>(full, bytes),
            "secret-record" => Form::read_as::<SecretRecord>(full, bytes),
            "pool" | "used-pool" => Form::read_as::<frost::Pool>(full, bytes),
            other => unreachable!("{other}"),
        }
    };
    seeds("frost_message").into_iter().chain(seeds("frost_records")).map(form).collect()
}

fn quorum() -> PartySet {
    [1, 2, 4].map(id).into_iter().collect()
}

fn honest(packet: Packet) -> Vec<Packet> {
    vec![packet]
}

/// Party 2's messages of a session, by round.
fn of_party_2(network: &Network) -> [Vec<u8>; 2] {
    [1, 2].map(|round| {
        let mut all = network.sent.iter();
        let wanted = |packet: &&Packet| {
            packet.from == id(2) && kind(packet).is_some_and(|(_, found)| found == round)
        };
        all.find(wanted).unwrap().bytes.clone()
    })
}

fn ecdsa<C: EcdsaGroup + Fixed>(suite: &str) -> [Form; 3] {
    let group = group_on::<C>(PartySet::first(4), 2, 1);
    let mut network = Network::new(1, Weather::default());
    let (root, digest) = (Derivation::Root, [7; 32]);
    let done = sign_derived(&group, root, quorum(), digest, 1, &mut network, &mut honest);
    let [nonce, share] = of_party_2(&network);
    let signature = done.signature.unwrap();
    let whole = [&signature.r[..], &signature.s, &[signature.recovery_id]].concat();
    [
        Form::read_as::<Nonce>(format!("core-ecdsa-{suite}-round-1"), nonce),
        Form::read_as::<Share>(format!("core-ecdsa-{suite}-round-2"), share),
        // No form of its own, but nonces, and so signatures, follow from the protocol alone.
        Form::new(format!("core-ecdsa-{suite}-signature"), whole, |bytes| {
            (bytes.len() == 65).then(|| bytes.to_vec())
        }),
    ]
}

fn schnorr<G: SchnorrGroup + Fixed>(suite: &str, tweak: Tweak) -> [Form; 3] {
    let group = group_on::<G>(PartySet::first(4), 2, 1);
    let mut network = Network::new(1, Weather::default());
    let shown = terms_of(quorum(), b"what is signed", tweak, 1);
    let done = sign_schnorr::<G>(&group, &shown, &mut network, &mut honest);
    let [nonce, share] = of_party_2(&network);
    let signature = done.signature.unwrap().0.to_vec();
    [
        Form::read_as::<Nonce>(format!("core-schnorr-{suite}-round-1"), nonce),
        Form::read_as::<Response>(format!("core-schnorr-{suite}-round-2"), share),
        Form::new(format!("core-schnorr-{suite}-signature"), signature, |bytes| {
            (bytes.len() == 64).then(|| bytes.to_vec())
        }),
    ]
}

/// What a party keeps of a key, and what it confirms.
fn records<C: Fixed>(suite: &str) -> Vec<Form> {
    let group = group_on::<C>(PartySet::first(4), 2, 1);
    let stored = &group[&id(2)];
    let name = |what: &str| format!("core-{what}-{suite}");
    let certificate: Vec<&Confirmation<N, K>> =
        group.values().map(|stored| &stored.confirmation).collect();
    vec![
        Form::of::<KeyTerms>(name("terms"), &stored.public.terms),
        Form::of::<PublicKey<N>>(name("public-key"), &stored.public),
        Form::read_as::<ShareRecord<N, K>>(name("share-record"), stored.sealed.clone()),
        Form::of::<Confirmation<N, K>>(name("confirmation"), &stored.confirmation),
        Form::read_as::<Vec<Confirmation<N, K>>>(name("certificate"), encoded(&certificate)),
    ]
}

fn requests() -> Vec<Form> {
    let seed = |target: &str, wanted: &str| {
        let mut seeds = seeds(target).into_iter();
        seeds.find(|(name, _)| name == wanted).unwrap().1
    };
    let policy = |wanted: &str| {
        Form::new(format!("core-{wanted}"), seed("policy", wanted), |bytes| {
            // Read in place, as a request is; what people read of it has to lead back to it.
            let json = quorate_node::policy_file::to_json(&Policy::parse(bytes).ok()?);
            Some(quorate_node::policy_file::from_json(&json).ok()?.into_vec())
        })
    };
    let request = |wanted: &str| {
        let name = format!("core-request-{wanted}");
        // A request is read in place: what parses is the same bytes.
        Form::new(name, seed("request", wanted), |bytes| {
            SignedRequest::parse(bytes).ok().map(|_| bytes.to_vec())
        })
    };
    let by = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let veto = Veto::sign(KeyId([2; 16]), [3; 32], 1_800_000_000, &by).encode().to_vec();
    let veto = Form::new("core-veto", veto, |bytes| {
        Veto::parse(bytes).ok().map(|veto| veto.encode().to_vec())
    });
    let transaction = |wanted: &str| {
        let name = format!("core-transaction-{wanted}");
        Form::new(name, seed("ethereum", wanted), |bytes| {
            let signed = quorate_core::policy::ethereum::take_apart(bytes).is_ok();
            let unsigned = quorate_core::policy::ethereum::Transaction::parse(bytes).is_ok();
            (signed || unsigned).then(|| bytes.to_vec())
        })
    };
    let typed_data = |wanted: &str| {
        let name = format!("core-typed-data-{wanted}");
        Form::new(name, seed("typed_data", wanted), |bytes| {
            TypedData::parse(bytes).ok().map(|_| bytes.to_vec())
        })
    };
    let every = "f((address,uint256,int8,bytes1,bool,bytes,string)[2][])";
    let types = Signature::parse(every).unwrap().types().as_bytes().to_vec();
    let types = Form::new("core-types", types, |bytes| {
        Types::parse(bytes).ok().map(|types| types.as_bytes().to_vec())
    });
    let parties: PartySet = [1u16, 8, 255].into_iter().filter_map(PartyId::new).collect();
    let signs = Changes { network: [1; 16], key: [2; 16], expires: 1_800_000_000 };
    let change = |name: &str, bytes: Vec<u8>| {
        Form::new(format!("core-policy-change-{name}"), bytes, |bytes| {
            SignedChange::parse(bytes).ok().map(|_| bytes.to_vec())
        })
    };
    let small = seed("policy", "policy");
    vec![
        policy("policy"),
        policy("policy-device"),
        change("create", signs.create("pay", &small, &[1, 2])),
        change("replace", signs.replace(2, &small, &small, &[1, 2])),
        change("freeze", signs.hold(1, &[3])),
        change("unfreeze", signs.hold(2, &[1, 3])),
        request("root"),
        request("path"),
        request("context"),
        request("message"),
        request("typed-data"),
        request("digest"),
        request("approved"),
        veto,
        typed_data("mail"),
        typed_data("all"),
        types,
        transaction("plain"),
        transaction("signed"),
        Form::of("core-party-set", &parties),
        Form::of("core-session-id", &session_of(1)),
    ]
}
