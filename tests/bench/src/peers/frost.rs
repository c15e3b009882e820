//! The crates of frost-core, over secp256k1 for BIP-340 and over Ed25519; one macro, since the crates
//! have the same names.

macro_rules! frost {
    ($name:ident, $crate_name:ident) => {
        pub mod $name {
            use std::collections::BTreeMap;

            use frost::keys::{KeyPackage, PublicKeyPackage};
            use frost::round1::{NonceCommitment, SigningCommitments, SigningNonces};
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
                /// What goes over the wire: (D, E) of each signer, and z.
                listed: Vec<(Identifier, [Vec<u8>; 2])>,
                answered: Vec<(Identifier, Vec<u8>)>,
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
                    let shares: BTreeMap<Identifier, SignatureShare> = shares.collect();
                    let nonces = made[0].0.clone();
                    let written = |c: &NonceCommitment| c.serialize().expect("a point");
                    let listed = package.signing_commitments().iter();
                    let listed =
                        listed.map(|(id, c)| (*id, [c.hiding(), c.binding()].map(written)));
                    let listed = listed.collect();
                    let answered = shares.iter().map(|(id, share)| (*id, share.serialize()));
                    let answered = answered.collect();
                    Self { keys, public, listed, answered, nonces, package, shares }
                }

                fn read_package(&self) -> SigningPackage {
                    let point = |bytes| NonceCommitment::deserialize(bytes).expect("a point");
                    let list = self.listed.iter().map(|(id, [hiding, binding])| {
                        (*id, SigningCommitments::new(point(hiding), point(binding)))
                    });
                    SigningPackage::new(list.collect(), &[7; 32])
                }

                /// A member makes a nonce and writes its commitments.
                pub fn commit_to_bytes(&self) -> [Vec<u8>; 2] {
                    let made = self.commit();
                    [made.hiding(), made.binding()].map(|c| c.serialize().expect("a point"))
                }

                /// A member reads the list and signs.
                pub fn sign_from_bytes(&self) -> Vec<u8> {
                    let package = self.read_package();
                    let share = frost::round2::sign(&package, &self.nonces, &self.keys[0]);
                    share.expect("honest").serialize()
                }

                /// The coordinator reads commitments and shares, aggregates, and verifies.
                pub fn aggregate_from_bytes(&self) -> Signature {
                    let package = self.read_package();
                    let shares = self.answered.iter().map(|(id, bytes)| {
                        (*id, SignatureShare::deserialize(bytes).expect("a scalar"))
                    });
                    frost::aggregate(&package, &shares.collect(), &self.public).expect("honest")
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
