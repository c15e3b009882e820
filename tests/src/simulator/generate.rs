//! A key generation among simulated parties.

use std::collections::BTreeMap;

use quorate_core::curve;
use quorate_core::dkg::{Dkg, Early, Evidence, Kept, Output};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::key::KeyTerms;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::session::{Abort, Refusal};

use super::{Adversary, Curve, Group, K, N, Network, Packet, Stored, forge, peers, session_key};

/// A party of a run, and what came too early for it.
struct Party<C: curve::Group> {
    run: Box<Dkg<C, N, K>>,
    early: Early<Vec<u8>, N>,
}

type Parties<C> = BTreeMap<PartyId, Party<C>>;

/// How a key generation ended, by party.
pub struct Generation<C = Curve> {
    /// Who made the key.
    pub finished: Group<C>,
    /// Who aborted, and why.
    pub aborted: BTreeMap<PartyId, Abort>,
    /// What they can show for it.
    pub evidence: BTreeMap<PartyId, Box<Evidence<N, Kept<K>>>>,
    /// Messages that were dropped, by receiver.
    pub refused: Vec<(PartyId, PartyId, Refusal)>,
}

/// The session that `seed` names.
#[must_use]
pub fn session_of(seed: u64) -> Digest {
    Transcript::new("test-session").u64(seed).finish()
}

/// Runs a key generation to its end; whoever still waits when the network is silent times out.
pub fn generate(
    terms: &KeyTerms,
    seed: u64,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Generation {
    generate_on(terms, seed, network, adversary)
}

/// [`generate`] on another curve.
pub fn generate_on<C: curve::Group>(
    terms: &KeyTerms,
    seed: u64,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Generation<C> {
    let parties = terms.holders.parties();
    forge::remember_holders(terms.holders);
    let mut result = Generation {
        finished: Group::new(),
        aborted: BTreeMap::new(),
        evidence: BTreeMap::new(),
        refused: Vec::new(),
    };
    let mut running: Parties<C> = BTreeMap::new();
    for me in parties.iter() {
        if let Some(run) = start(terms, seed, me) {
            running.insert(me, Party { run, early: Early::default() });
        }
    }
    for me in parties.iter() {
        drain(me, parties, &mut running, &mut result, network, adversary);
    }
    loop {
        while let Some(packet) = network.next_packet() {
            let me = packet.to;
            let Some(Party { run, early }) = running.get_mut(&me) else { continue };
            early.handle(run, packet.from, packet.bytes, &session_key(me), |from, refusal| {
                result.refused.push((me, from, refusal));
            });
            drain(me, parties, &mut running, &mut result, network, adversary);
        }
        let Some(me) = running.keys().next().copied() else { break };
        if let Some(party) = running.get_mut(&me) {
            party.run.handle_timeout();
        }
        drain(me, parties, &mut running, &mut result, network, adversary);
    }
    result
}

/// By itself, so that the stack is free again of what is moved here.
fn start<C: curve::Group>(terms: &KeyTerms, seed: u64, me: PartyId) -> Option<Box<Dkg<C, N, K>>> {
    let hedge = SecretBytes::new([me.number() as u8; 32]);
    let session = session_of(seed);
    // The entropy is all zero: the hedge key alone makes parties differ.
    let mut rng = HedgedRng::new(&[0; 32], &hedge, &session, seed);
    let peers = peers(terms.holders.parties());
    Dkg::new(*terms, session, me, &peers, &session_key(me), &mut rng).ok().map(Box::new)
}

fn drain<C: curve::Group>(
    me: PartyId,
    parties: PartySet,
    running: &mut Parties<C>,
    result: &mut Generation<C>,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) {
    let mut buffer = vec![0; Dkg::<C, N, K>::MAX_MESSAGE];
    let signer = session_key(me);
    while let Some(party) = running.get_mut(&me) {
        match party.run.poll_output(&signer, &mut buffer) {
            Ok(Some(Output::Send { to, bytes })) => {
                for other in to.map_or(parties.without(me), |to| [to].into_iter().collect()).iter()
                {
                    let packet = Packet { from: me, to: other, bytes: bytes.to_vec() };
                    network.send(packet, adversary);
                }
            }
            Ok(Some(Output::Persist)) => {
                let key = running.remove(&me).and_then(|mut party| party.run.take_key());
                if let Some((public, record)) = key {
                    result.finished.insert(me, Stored::new(me, public, &record));
                }
            }
            Ok(Some(Output::Failed(abort))) => {
                let evidence = running.remove(&me).and_then(|mut party| party.run.take_evidence());
                if let Some(evidence) = evidence {
                    result.evidence.insert(me, Box::new(evidence));
                }
                result.aborted.insert(me, abort);
            }
            Ok(None) | Err(_) => break,
        }
    }
}
