use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::platform::NoiseFailed;

/// What a script says, then good noise.
struct Script {
    samples: VecDeque<u8>,
    good: ChaCha20Rng,
    /// From then on the source gives nothing.
    ends_after: Option<usize>,
    given: usize,
}

fn script(samples: impl IntoIterator<Item = u8>) -> Script {
    let samples = samples.into_iter().collect();
    Script { samples, good: ChaCha20Rng::seed_from_u64(1), ends_after: None, given: 0 }
}

impl Noise for &mut Script {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        for sample in samples {
            self.given += 1;
            if self.ends_after.is_some_and(|end| self.given > end) {
                return Err(NoiseFailed);
            }
            *sample = self.samples.pop_front().unwrap_or_else(|| self.good.next_u32() as u8);
        }
        Ok(())
    }
}

const START: usize = START_SAMPLES + 2 * SEED_SAMPLES;

fn good() -> impl Iterator<Item = u8> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    std::iter::from_fn(move || Some(rng.next_u32() as u8))
}

/// At the start, and later on.
fn fails(bad: impl IntoIterator<Item = u8> + Clone, expected: EntropyFailed) {
    let mut noise = script(bad.clone());
    let mut entropy = Entropy::start(&mut noise);
    assert_eq!(entropy.failed(), Some(expected));
    // The noise is good again; who failed once is not asked any more.
    for _ in 0..3 {
        entropy.mix(&[7; 32]);
        assert_eq!(entropy.fresh().err(), Some(expected));
    }
    let mut noise = script(good().take(START + SEED_SAMPLES).chain(bad));
    let mut entropy = Entropy::start(&mut noise);
    assert_eq!(entropy.failed(), None);
    assert!(entropy.fresh().is_ok());
    let first = (0..8).find_map(|_| entropy.fresh().err());
    assert_eq!(first, Some(expected));
    assert_eq!(entropy.failed(), first);
    assert_eq!(entropy.fresh().err(), first);
    // It is not even asked.
    let given = entropy.noise.given;
    assert!(entropy.fresh().is_err());
    assert_eq!(entropy.noise.given, given);
}

fn repeated(pattern: &[u8]) -> impl Iterator<Item = u8> + Clone {
    pattern.iter().copied().cycle().take(4000)
}

#[test]
fn a_stuck_source_is_refused() {
    fails(repeated(&[0]), EntropyFailed::Repetition);
    fails(repeated(&[0xff]), EntropyFailed::Repetition);
    fails(repeated(&[0x5a]), EntropyFailed::Repetition);
}

#[test]
fn a_pattern_is_refused() {
    fails(repeated(&[0, 1]), EntropyFailed::Pattern);
    for length in 2..=8 {
        fails(repeated(&b"pattern!"[..length]), EntropyFailed::Pattern);
    }
    // A counter.
    fails((0..4000).map(|i| (i * 3) as u8), EntropyFailed::Pattern);
}

#[test]
fn a_biased_source_is_refused() {
    // Three of four samples are the same, and never 31 in a row.
    let biased: Vec<u8> = good()
        .take(4000)
        .enumerate()
        .map(|(i, s)| if i % 4 == s as usize % 4 { s } else { 9 })
        .collect();
    fails(biased, EntropyFailed::Proportion);
}

#[test]
fn a_source_that_ends_is_refused() {
    for ends_after in [0, 1, 1000, START - 1] {
        let mut noise = script(good().take(ends_after));
        noise.ends_after = Some(ends_after);
        let mut entropy = Entropy::start(&mut noise);
        assert_eq!(entropy.failed(), Some(EntropyFailed::Source));
        assert_eq!(entropy.fresh().err(), Some(EntropyFailed::Source));
    }
    let mut noise = script(good().take(START + SEED_SAMPLES));
    noise.ends_after = Some(START + SEED_SAMPLES);
    let mut entropy = Entropy::start(&mut noise);
    assert!(entropy.fresh().is_ok());
    assert_eq!(entropy.fresh().err(), Some(EntropyFailed::Source));
}

#[test]
fn a_source_with_one_bit_in_each_sample_is_good_enough() {
    let mut noise = script(good().take(200_000).map(|sample| sample & 1));
    let mut entropy = Entropy::start(&mut noise);
    for _ in 0..300 {
        assert!(entropy.fresh().is_ok());
    }
}

fn health_of(samples: impl IntoIterator<Item = u8>) -> Result<(), EntropyFailed> {
    let mut health = Health::new();
    samples.into_iter().try_for_each(|sample| health.test(sample))
}

#[test]
fn the_cutoffs_are_exact() {
    let run = |length| good().take(100).filter(|s| *s != 7).chain([7].repeat(length));
    let most = usize::from(REPETITION_CUTOFF);
    assert_eq!(health_of(run(most - 1)), Ok(()));
    assert_eq!(health_of(run(most)), Err(EntropyFailed::Repetition));
    // The first sample of a window is what is counted in it.
    let window = |same: u16| {
        let (same, window) = (u32::from(same), u32::from(WINDOW));
        let rest = (1..window).map(move |i| {
            // Spread over the window, so that no run is long.
            let is_same = i * (same - 1) / (window - 1) != (i - 1) * (same - 1) / (window - 1);
            (i, is_same)
        });
        let mut others = good().filter(|s| *s != 7);
        let rest: Vec<u8> =
            rest.map(|(_, same)| if same { 7 } else { others.next().unwrap() }).collect();
        [7].into_iter().chain(rest)
    };
    assert_eq!(window(PROPORTION_CUTOFF).filter(|s| *s == 7).count(), PROPORTION_CUTOFF.into());
    assert_eq!(health_of(window(PROPORTION_CUTOFF - 1)), Ok(()));
    assert_eq!(health_of(window(PROPORTION_CUTOFF)), Err(EntropyFailed::Proportion));
}

/// SP 800-90B §4.4.1 and §4.4.2, computed anew.
#[test]
fn the_cutoffs_are_the_standards() {
    // H = 1: a run of C samples has the probability 2^-(C-1).
    assert_eq!(u32::from(REPETITION_CUTOFF), 1 + ALPHA_BITS);
    // The smallest c with P[Binomial(W, 1/2) <= c] >= 1 - 2^-30: in the logarithm, from the far end.
    let w = f64::from(WINDOW);
    let mut log = -w * 2f64.ln();
    let (mut tail, mut c) = (0f64, f64::from(WINDOW));
    // P[X > c - 1] = P[X >= c], until it is above alpha.
    loop {
        let next = tail + log.exp();
        if next > 0.5f64.powi(ALPHA_BITS as i32) {
            break;
        }
        tail = next;
        log += (c / (w - c + 1.0)).ln();
        c -= 1.0;
    }
    assert_eq!(f64::from(PROPORTION_CUTOFF), 1.0 + c);
}

#[test]
fn the_host_is_mixed_in_and_never_instead() {
    let fresh = |host: Option<[u8; 32]>, seed| {
        let mut noise = script([]);
        noise.good = ChaCha20Rng::seed_from_u64(seed);
        let mut entropy = Entropy::start(&mut noise);
        if let Some(host) = host {
            entropy.mix(&host);
        }
        *entropy.fresh().unwrap().expose()
    };
    assert_eq!(fresh(None, 1), fresh(None, 1));
    assert_ne!(fresh(None, 1), fresh(Some([0; 32]), 1));
    assert_ne!(fresh(Some([0; 32]), 1), fresh(Some([1; 32]), 1));
    assert_ne!(fresh(Some([1; 32]), 1), fresh(Some([1; 32]), 2));
    // No two are the same.
    let mut noise = script([]);
    let mut entropy = Entropy::start(&mut noise);
    let all: std::collections::HashSet<_> =
        (0..100).map(|_| *entropy.fresh().unwrap().expose()).collect();
    assert_eq!(all.len(), 100);
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// NIST's CAVP, HMAC_DRBG.rsp, SHA-256: the second output is the one that is given.
#[test]
fn the_generator_is_nists() {
    let drbg = |entropy, nonce, reseed, additional: [&str; 3]| {
        let [of_reseed, first, second] = additional.map(bytes);
        let mut drbg = HmacDrbg::new(&[&bytes(entropy), &bytes(nonce)]);
        drbg.reseed(&[&bytes(reseed), &of_reseed]);
        let mut out = [0; 128];
        drbg.generate(&[&first], &mut out);
        drbg.generate(&[&second], &mut out);
        hex::encode(out)
    };
    let plain = drbg(
        "06032cd5eed33f39265f49ecb142c511da9aff2af71203bffaf34a9ca5bd9c0d",
        "0e66f71edc43e42a45ad3c6fc6cdc4df",
        "01920a4e669ed3a85ae8a33b35a74ad7fb2a6bb4cf395ce00334a9c9a5a5d552",
        ["", "", ""],
    );
    assert_eq!(
        plain,
        "76fc79fe9b50beccc991a11b5635783a83536add03c157fb30645e611c2898bb2b1bc215000209208cd506cb28da2a51\
         bdb03826aaf2bd2335d576d519160842e7158ad0949d1a9ec3e66ea1b1a064b005de914eac2e9d4f2d72a8616a802254\
         22918250ff66a41bd2f864a6a38cc5b6499dc43f7f2bd09e1e0f8f5885935124"
    );
    let additional = drbg(
        "05ac9fc4c62a02e3f90840da5616218c6de5743d66b8e0fbf833759c5928b53d",
        "2b89a17904922ed8f017a63044848545",
        "2791126b8b52ee1fd9392a0a13e0083bed4186dc649b739607ac70ec8dcecf9b",
        [
            "43bac13bae715092cf7eb280a2e10a962faf7233c41412f69bc74a35a584e54c",
            "3f2fed4b68d506ecefa21f3f5bb907beb0f17dbc30f6ffbba5e5861408c53a1e",
            "529030df50f410985fde068df82b935ec23d839cb4b269414c0ede6cffea5b68",
        ],
    );
    assert_eq!(
        additional,
        "02ddff5173da2fcffa10215b030d660d61179e61ecc22609b1151a75f1cbcbb4363c3a89299b4b63aca5e581e73c8604\
         91010aa35de3337cc6c09ebec8c91a6287586f3a74d9694b462d2720ea2e11bbd02af33adefb4a16e6b370fa0effd57d\
         607547bdcfbb7831f54de7073ad2a7da987a0016a82fa958779a168674b56524"
    );
}

/// RFC 6979, A.2.5: k for P-256, SHA-256 and "sample" is the first output for (x, the message's hash).
#[test]
fn the_generator_is_that_of_rfc_6979() {
    let x = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let mut drbg = HmacDrbg::new(&[&x, &Sha256::digest("sample")]);
    let mut k = [0; 32];
    drbg.generate(&[], &mut k);
    let expected = "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60";
    assert_eq!(hex::encode(k), expected);
}
