//! The crates of frost-core, over secp256k1 for BIP-340 and over Ed25519; one macro, since the crates
//! have the same names.

macro_rules! frost {
    ($name:ident, $crate_name:ident) => {
        pub mod $name {
            use std::collections::BTreeMap;

            use frost::keys::{KeyPackage, PublicKeyPackage};
            use frost::round1::{SigningCommitments, SigningNonces};
            use frost::round2::SignatureShare;
            use frost::{Identifier, Signature, SigningPackage};
            use rand_core::OsRng;
            use $crate_name as frost;

            /// A whole key generation, all parties in one thread.
            pub fn keygen(count: u16, threshold: u16) -> Vec<(KeyPackage, PublicKeyPackage)> {
                let ids: Vec<Identifier> =
                    (1..=count).map(|i| i.try_into().expect("not 0")).collect();
                let (mut secrets1, mut first) = (BTreeMap::new(), BTreeMap::new());
                for id in &ids {
                    let (secret, package) =
                        frost::keys::dkg::part1(*id, count, threshold, OsRng).expect("parameters");
                    secrets1.insert(*id, secret);
                    first.insert(*id, package);
                }
                let (mut secrets2, mut second) = (BTreeMap::new(), BTreeMap::new());
                for (id, secret) in secrets1 {
                    let mut others = first.clone();
                    others.remove(&id);
                    let (secret, packages) =
                        frost::keys::dkg::part2(secret, &others).expect("honest");
                    secrets2.insert(id, secret);
                    second.insert(id, packages);
                }
                let done = ids.iter().map(|id| {
                    let mut others = first.clone();
                    others.remove(id);
                    let mine = second.iter().filter(|(from, _)| *from != id);
                    let mine = mine.map(|(from, all)| (*from, all[id].clone())).collect();
                    frost::keys::dkg::part3(&secrets2[id], &others, &mine).expect("honest")
                });
                done.collect()
            }

            /// A quorum with a key; one member and the aggregation are measured.
            pub struct Signers {
                keys: Vec<KeyPackage>,
                public: PublicKeyPackage,
                nonces: SigningNonces,
                package: SigningPackage,
                shares: BTreeMap<Identifier, SignatureShare>,
            }

            impl Signers {
                pub fn new(holders: u16, threshold: u16, signers: usize) -> Self {
                    let all = keygen(holders, threshold);
                    let public = all[0].1.clone();
                    let keys: Vec<_> = all.into_iter().take(signers).map(|(key, _)| key).collect();
                    let made: Vec<(SigningNonces, SigningCommitments)> = keys
                        .iter()
                        .map(|key| frost::round1::commit(key.signing_share(), &mut OsRng))
                        .collect();
                    let list = keys.iter().zip(&made).map(|(key, (_, c))| (*key.identifier(), *c));
                    let package = SigningPackage::new(list.collect(), &[7; 32]);
                    let shares = keys.iter().zip(&made).map(|(key, (nonces, _))| {
                        let share = frost::round2::sign(&package, nonces, key).expect("honest");
                        (*key.identifier(), share)
                    });
                    let shares = shares.collect();
                    let nonces = made[0].0.clone();
                    Self { keys, public, nonces, package, shares }
                }

                /// A member makes a nonce.
                pub fn commit(&self) -> SigningCommitments {
                    frost::round1::commit(self.keys[0].signing_share(), &mut OsRng).1
                }

                /// A member signs.
                pub fn sign(&self) -> SignatureShare {
                    frost::round2::sign(&self.package, &self.nonces, &self.keys[0]).expect("honest")
                }

                /// The coordinator aggregates, and verifies.
                pub fn aggregate(&self) -> Signature {
                    frost::aggregate(&self.package, &self.shares, &self.public).expect("honest")
                }
            }
        }
    };
}

frost!(secp256k1, frost_secp256k1_tr);
frost!(ed25519, frost_ed25519);
