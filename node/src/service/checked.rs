//! Policies whose hash is known: hashing a long one takes longer than judging by it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use quorate_core::hash::Digest;
use quorate_core::policy::Policy;

/// So many are remembered; a policy has 32 KiB at most.
const MAX_POLICIES: usize = 256;

/// By key.
#[derive(Default)]
pub(super) struct PolicyHashes(RefCell<BTreeMap<[u8; 16], Hashed>>);

struct Hashed {
    policy: Vec<u8>,
    hash: Digest,
}

impl PolicyHashes {
    /// The policy's hash. That it is remembered for the same key only saves time: the bytes are compared.
    pub(super) fn of(&self, key: &[u8; 16], policy: &Policy<'_>) -> Digest {
        let mut known = self.0.borrow_mut();
        if let Some(same) = known.get(key).filter(|same| same.policy == policy.bytes()) {
            return same.hash;
        }
        let hash = policy.hash();
        if known.len() >= MAX_POLICIES && !known.contains_key(key) {
            known.pop_first();
        }
        known.insert(*key, Hashed { policy: policy.bytes().to_vec(), hash });
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> Vec<u8> {
        let file = serde_json::json!({ "rules": [
            { "name": name, "payload": ["raw-digest"], "when": { "client": ["01".repeat(32)] } },
        ] });
        crate::policy_file::from_json(&file).unwrap().into_vec()
    }

    #[test]
    fn another_policy_of_the_same_key_has_its_own_hash() {
        let hashes = PolicyHashes::default();
        let (first, second) = (policy("first"), policy("second"));
        let (first, second) = (Policy::parse(&first).unwrap(), Policy::parse(&second).unwrap());
        for policy in [first, first, second, second, first] {
            assert_eq!(hashes.of(&[1; 16], &policy), policy.hash());
        }
        for number in 0..=MAX_POLICIES as u16 + 1 {
            let mut key = [2; 16];
            key[..2].copy_from_slice(&number.to_be_bytes());
            assert_eq!(hashes.of(&key, &second), second.hash());
        }
        assert_eq!(hashes.0.borrow().len(), MAX_POLICIES);
    }
}
