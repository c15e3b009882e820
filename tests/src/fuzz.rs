//! Fuzz targets: plain functions of bytes, each with seeds made from real messages. `fuzz/` runs them under
//! libFuzzer; `tests/tests/fuzz.rs` runs them briefly with any compiler, over `fuzz/corpus` and mutations of it.
//!
//! A target panics where an invariant breaks. Decoders: no input panics, and what decodes encodes to the
//! same bytes. Judgement: whatever policy, payload and facts, it ends, and less never allows more. Evidence:
//! nobody is convicted whose key did not sign. Sessions: whatever one corrupt party sends and whatever the
//! network does, no honest party is blamed, and all outputs are equal and valid.

mod decoders;
mod evidence;
mod frost;
mod judgement;
mod payloads;
mod plan;
mod seeds;
mod sessions;

/// One target.
pub struct Target {
    /// Its name: of the libFuzzer binary, and of the folder of its corpus.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
    /// Its seeds, by file name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// How many mutated inputs the brief run gives it.
    pub inputs: u32,
}

/// All targets.
pub const TARGETS: [Target; 20] = [
    Target { name: "header", run: decoders::header, seeds: seeds::messages, inputs: 100_000 },
    Target { name: "dkg_message", run: sessions::dkg_message, seeds: seeds::dkg, inputs: 6_000 },
    Target {
        name: "ecdsa_message",
        run: sessions::ecdsa_message,
        seeds: seeds::ecdsa,
        inputs: 15_000,
    },
    Target {
        name: "schnorr_message",
        run: sessions::schnorr_message,
        seeds: seeds::schnorr,
        inputs: 15_000,
    },
    Target {
        name: "key_records",
        run: decoders::key_records,
        seeds: seeds::records,
        inputs: 20_000,
    },
    Target { name: "evidence", run: evidence::evidence, seeds: evidence::seeds, inputs: 20_000 },
    Target { name: "frost_records", run: frost::records, seeds: frost::stored, inputs: 20_000 },
    Target { name: "frost_message", run: frost::message, seeds: frost::messages, inputs: 2_000 },
    Target { name: "node", run: decoders::node, seeds: seeds::node, inputs: 100_000 },
    Target { name: "policy", run: decoders::policy, seeds: seeds::policies, inputs: 100_000 },
    Target {
        name: "judgement",
        run: judgement::judgement,
        seeds: judgement::seeds,
        inputs: 10_000,
    },
    Target { name: "request", run: decoders::request, seeds: seeds::requests, inputs: 20_000 },
    Target {
        name: "ethereum",
        run: payloads::ethereum,
        seeds: seeds::transactions,
        inputs: 100_000,
    },
    Target {
        name: "typed_data",
        run: payloads::typed_data,
        seeds: payloads::typed,
        inputs: 100_000,
    },
    Target { name: "call_data", run: payloads::call_data, seeds: payloads::calls, inputs: 100_000 },
    Target {
        name: "sealed_blob",
        run: decoders::sealed_blob,
        seeds: seeds::blobs,
        inputs: 100_000,
    },
    Target { name: "dkg_session", run: sessions::dkg_session, seeds: seeds::plans, inputs: 1_000 },
    Target {
        name: "ecdsa_session",
        run: sessions::ecdsa_session,
        seeds: seeds::plans,
        inputs: 5_000,
    },
    Target {
        name: "schnorr_session",
        run: sessions::schnorr_session,
        seeds: seeds::plans,
        inputs: 5_000,
    },
    Target { name: "frost_session", run: frost::session, seeds: seeds::plans, inputs: 1_000 },
];

/// Runs a target by its name, for the binaries of libFuzzer.
///
/// # Panics
/// If there is no such target, or an invariant breaks.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "no target {name}");
    if let Some(target) = target {
        (target.run)(input);
    }
}
