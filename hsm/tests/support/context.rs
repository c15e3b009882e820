//! What blobs of these tests belong to.

use quorate_hsm::{BlobKind, Context};

pub(crate) fn context() -> Context {
    Context {
        network: [1; 16],
        party: 2,
        key: [3; 16],
        epoch: 5,
        policy_version: 7,
        policy_hash: [8; 32],
        kind: BlobKind::Share,
        sequence: 9,
    }
}
