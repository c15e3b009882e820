//! What peers know of this device's past: who puts its flash back to an earlier day gets its old counters, and
//! nothing in the flash can tell. The peers can (`docs/PROTOCOL.md` §10.7).

use quorate_core::device::link::Refused;
use quorate_core::dkg::SessionSigner as _;
use quorate_core::party::PartyId;
use quorate_core::policy::Policy;
use quorate_core::wire::Bytes64;

use crate::device::Engine;
use crate::journal::{self, MAX_CHARGES};
use crate::message::{self, Head, Recall, SignedHead, head_session};
use crate::platform::Platform;
use crate::store::{MAX_KEYS, Part, Slot};

impl<P: Platform> Engine<'_, P> {
    /// Tells all peers how far the journal is, before what its last entry tells of.
    #[inline(never)]
    pub(super) fn announce_head(&mut self) -> Option<()> {
        let journal::Head { generation, number, hash } = self.known.store.head().ok()?;
        let (open, network) = (self.open.as_ref()?, self.known.network.as_ref()?);
        let certificate = open.certificate(network.me, open.certified.1);
        let mut head =
            SignedHead { certificate, generation, number, hash, signature: Bytes64([0; 64]) };
        head.signature = open.session_key.sign(&head.digest(&network.id));
        let message = Head { head };
        let peers: heapless::Vec<PartyId, { crate::device::MAX_PEERS }> =
            self.known.peers.iter().map(|peer| peer.party).collect();
        for to in peers {
            self.send(to, &message);
        }
        Some(())
    }

    /// A peer shows what it last saw of this device; nothing if the device never signed that.
    #[inline(never)]
    pub(crate) fn handle_recall(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let Recall { head } = message::read(body).ok()?;
        if let Some(head) = head {
            let network = self.known.network.as_ref()?;
            let (id, me) = (network.id, network.me);
            let identity = network.identity_of(me)?;
            let certificate = &head.certificate;
            let genuine = certificate.party == me
                && certificate.is_signed_by(&identity, &id, &head_session(&id))
                && certificate.key.verify(&head.digest(&id), &head.signature);
            if !genuine {
                return None;
            }
            let SignedHead { generation, number, hash, .. } = head;
            match self.known.store.is_own_head(&journal::Head { generation, number, hash }) {
                Ok(true) => {}
                Ok(false) => {
                    let before = self.known.rolled_back.unwrap_or(0);
                    self.known.rolled_back = Some(generation.max(before));
                }
                // Nothing is known then: it does not count as heard.
                Err(_) => return Some(()),
            }
        }
        self.peer(from)?.heard = true;
        Some(())
    }

    /// The operator accepts the loss, and the person has agreed: every limit of every key counts as fully
    /// spent from now on, for as long as its window is, because what was really spent is not known.
    #[inline(never)]
    pub(crate) fn readmit(&mut self) -> Result<(), Refused> {
        let generation = self.known.rolled_back.ok_or(Refused::Declined)?;
        let now = self.known.some_time().ok_or(Refused::Busy)?;
        let now = now.max(self.known.store.latest_time().map_err(|_| Refused::Storage)?);
        for number in 0..MAX_KEYS {
            if let Some(entry) = self.known.key_entry(number).filter(|entry| entry.active) {
                self.exhaust(number, entry.key, now).ok_or(Refused::Storage)?;
            }
        }
        self.known.store.readmit(generation).map_err(|_| Refused::Storage)?;
        self.known.rolled_back = None;
        self.announce_head().ok_or(Refused::Storage)
    }

    #[inline(never)]
    fn exhaust(&mut self, number: u8, key: [u8; 16], now: u64) -> Option<()> {
        // `tx` is free: nothing is being sent.
        let found =
            self.known.store.load(Slot::Key(number, Part::Policy), &mut *self.tx).ok()??;
        let policy = Policy::parse(found).ok()?;
        for rule in policy.rules() {
            let charges: heapless::Vec<journal::Charge, MAX_CHARGES> = rule
                .limits()
                .map(|limit| journal::Charge {
                    series: limit.series(rule.name),
                    amount: limit.max,
                    window: None,
                })
                .collect();
            if !charges.is_empty() {
                self.known.store.exhaust(key, now, &charges).ok()?;
            }
        }
        Some(())
    }
}
