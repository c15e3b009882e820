//! Sealing in a SoftHSM token, beside the token's own encryption of the same payload.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use quorate_hsm::pkcs11::{
    Location, Pin, Pkcs11Protector, TokenSelector, Wanted, provision, softhsm,
};
use quorate_hsm::{BlobKind, Context, Profile};

/// Microseconds: by the token alone, then through a sealed blob. The ratios are medians of their own, each
/// of calls that were made right after each other: a machine's other work disturbs both sides of one.
pub struct Times {
    pub encrypt: f64,
    pub decrypt: f64,
    pub seal: f64,
    pub seal_ratio: f64,
    pub open: f64,
    pub open_ratio: f64,
}

const LABEL: &str = "bench";
const PIN: &str = "bench-user";
const BLOCKS: usize = 400;
const CALLS: u32 = 20;

/// `SOFTHSM2_CONF` must name a configuration with a folder of its own.
pub fn measure(sizes: &[usize]) -> Vec<Times> {
    let module = softhsm::find_module().expect("SoftHSM; tests/run installs it");
    softhsm::create_token(&module, LABEL, &Pin::new("bench-so-pin"), &Pin::new(PIN))
        .expect("a token");
    let location = Location { module: module.clone(), token: TokenSelector::Label(LABEL.into()) };
    let wanted = Wanted {
        location,
        key_id: vec![1],
        key_version: 1,
        profile: Some(Profile::TokenGcm),
        identity: None,
    };
    let made = provision(wanted, Pin::new(PIN)).expect("a KEK");
    let ours = Pkcs11Protector::open(made.config, Pin::new(PIN), made.canary).expect("it opens");
    let bare = Bare::open(module);
    sizes.iter().map(|size| interleaved(&ours, &bare, &vec![7; *size])).collect()
}

fn interleaved(ours: &Pkcs11Protector, bare: &Bare, payload: &[u8]) -> Times {
    let context = Context {
        network: [1; 16],
        party: 1,
        key: [2; 16],
        epoch: 0,
        policy_version: 1,
        policy_hash: [3; 32],
        kind: BlobKind::Share,
        sequence: 1,
    };
    let blob = quorate_hsm::seal(ours, &context, payload).expect("sealed");
    let (iv, cipher) = bare.encrypt(payload);
    let blocks: Vec<[f64; 4]> = (0..BLOCKS)
        .map(|_| {
            [
                each(|| bare.encrypt(payload)),
                each(|| bare.decrypt(&iv, &cipher)),
                each(|| quorate_hsm::seal(ours, &context, payload).expect("sealed")),
                each(|| quorate_hsm::open(ours, &context, &blob).expect("opened")),
            ]
        })
        .collect();
    let of = |what: fn(&[f64; 4]) -> f64| middle(blocks.iter().map(what).collect());
    Times {
        encrypt: of(|block| block[0]),
        decrypt: of(|block| block[1]),
        seal: of(|block| block[2]),
        seal_ratio: of(|block| block[2] / (block[0] + block[1])),
        open: of(|block| block[3]),
        open_ratio: of(|block| block[3] / block[1]),
    }
}

fn each<T>(mut call: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(call());
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A session in the same token, used as an application without a blob format would.
struct Bare {
    session: Session,
    key: ObjectHandle,
    _library: Pkcs11,
}

impl Bare {
    fn open(module: PathBuf) -> Self {
        let library = Pkcs11::new(module).expect("the library");
        // It may be initialised by the protector already: that is success here.
        let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let slots = library.get_slots_with_initialized_token().expect("slots");
        let session = library.open_rw_session(slots[0]).expect("a session");
        let _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
        let template = [
            // Like every KEK: stored, and hidden until login.
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ];
        let key = session.generate_key(&Mechanism::AesKeyGen, &template).expect("a key");
        Self { session, key, _library: library }
    }

    /// With an IV of its own each time, as every caller needs one.
    fn encrypt(&self, payload: &[u8]) -> ([u8; 12], Vec<u8>) {
        let mut iv = [0; 12];
        getrandom::getrandom(&mut iv).expect("randomness");
        let parameters = GcmParams::new(&mut iv, b"context", 128.into()).expect("parameters");
        let mechanism = Mechanism::AesGcm(parameters);
        let cipher = self.session.encrypt(&mechanism, self.key, payload).expect("encrypted");
        (iv, cipher)
    }

    fn decrypt(&self, iv: &[u8; 12], cipher: &[u8]) -> Vec<u8> {
        let mut iv = *iv;
        let parameters = GcmParams::new(&mut iv, b"context", 128.into()).expect("parameters");
        self.session.decrypt(&Mechanism::AesGcm(parameters), self.key, cipher).expect("decrypted")
    }
}
