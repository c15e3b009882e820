//! A stopped party's secrets, opened as its node opens them.

use std::fs;
use std::path::Path;

use quorate_core::curve::{Group as _, Secp256k1};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::{vss, wire};
use quorate_node::config::{Config, Folder};
use quorate_node::sealing::{open_hedge, open_hsm, open_identity};
use quorate_node::service::records::{Public, Record, row_context};
use quorate_node::store::Store;

use crate::needles::Secret;
use crate::node_process::Node;

pub struct Vault {
    party: PartyId,
    /// Share, pair seeds, nonce keys, identity seed.
    pub secrets: Vec<Secret>,
    key: [u8; 16],
    /// What was sealed.
    record: Vec<u8>,
    hedge: [u8; 32],
    identity: Option<[u8; 32]>,
}

impl Vault {
    pub fn open(node: &Node) -> Self {
        let folder = Folder::new(&node.folder);
        let config = Config::load(&folder).unwrap();
        let hsm = open_hsm(&folder, &config).unwrap();
        let identity = open_identity(&folder, &config, &hsm).unwrap();
        let hedge = open_hedge(&folder, &config, &*hsm.protector).unwrap();
        let store = Store::open(&folder.store()).unwrap();
        let rows = store.keys().unwrap();
        assert_eq!(rows.len(), 1);
        let (row, party) = (&rows[0], PartyId::new(node.party).unwrap());
        let public: Public = wire::decode(&row.public).unwrap();
        let context = row_context(public.terms.network, party, &public, row);
        let plaintext = quorate_hsm::open(&*hsm.protector, &context, &row.sealed).unwrap();
        let record: Record = wire::decode(&plaintext).unwrap();
        let mut secrets = Vec::new();
        let mut keep = |name: &str, bytes: &[u8; 32]| {
            let name = format!("{name} of party {party} (secret {})", secrets.len());
            secrets.push(Secret { name, bytes: *bytes });
        };
        keep("share", record.share.expose());
        record.pair_seeds.iter().for_each(|seed| keep("pair seed", seed.expose()));
        record.nonce_keys.iter().for_each(|key| keep("nonce key", key.expose()));
        keep("hedge key", hedge.expose());
        // One that was made in the token has none.
        let identity = identity.secret();
        identity.iter().for_each(|seed| keep("identity seed", seed));
        let hedge = *hedge.expose();
        let identity = identity.map(|seed| *seed);
        Self { party, secrets, key: row.key, record: plaintext.to_vec(), hedge, identity }
    }

    /// Replaces what is sealed in `folder`, a copy of the party's, by what was sealed.
    pub fn write_unsealed(&self, folder: &Path) {
        let folder = Folder::new(folder);
        let store = Store::open(&folder.store()).unwrap();
        store.replace_sealed(self.key, self.record.clone()).unwrap();
        fs::write(folder.hedge(), self.hedge).unwrap();
        self.identity.iter().for_each(|seed| fs::write(folder.identity(), seed).unwrap());
    }
}

/// The secret whose shares these are.
pub fn interpolate(vaults: &[Vault]) -> [u8; 32] {
    let set: PartySet = vaults.iter().map(|vault| vault.party).collect();
    let mut sum = <Secp256k1 as quorate_core::curve::Group>::Scalar::default();
    for vault in vaults {
        let share = Secp256k1.scalar_from_bytes(&vault.secrets[0].bytes).unwrap();
        sum += vss::lagrange(Secp256k1, set, vault.party) * share;
    }
    Secp256k1::scalar_to_bytes(&sum)
}
