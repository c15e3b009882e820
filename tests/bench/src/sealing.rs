//! Sealing in a SoftHSM token, beside the token's own encryption of the same payload.

use std::path::PathBuf;

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

use crate::clock::median;

/// Microseconds: by the token alone, then through a sealed blob.
pub struct Times {
    pub encrypt: f64,
    pub decrypt: f64,
    pub seal: f64,
    pub open: f64,
}

const LABEL: &str = "bench";
const PIN: &str = "bench-user";

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
    let sealed = sizes.iter().map(|size| {
        let payload = vec![7; *size];
        let blob = quorate_hsm::seal(&ours, &context, &payload).expect("sealed");
        let seal = median(2000, || quorate_hsm::seal(&ours, &context, &payload));
        let open = median(2000, || quorate_hsm::open(&ours, &context, &blob));
        (seal, open)
    });
    let sealed: Vec<_> = sealed.collect();
    drop(ours);
    let bare = Bare::open(module);
    let both = sizes.iter().zip(sealed);
    both.map(|(size, (seal, open))| {
        let payload = vec![7; *size];
        let cipher = bare.encrypt(&payload);
        let encrypt = median(2000, || bare.encrypt(&payload));
        let decrypt = median(2000, || bare.decrypt(&cipher));
        Times { encrypt, decrypt, seal, open }
    })
    .collect()
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

    fn encrypt(&self, payload: &[u8]) -> Vec<u8> {
        let mut iv = [5; 12];
        let parameters = GcmParams::new(&mut iv, b"context", 128.into()).expect("parameters");
        self.session.encrypt(&Mechanism::AesGcm(parameters), self.key, payload).expect("encrypted")
    }

    fn decrypt(&self, cipher: &[u8]) -> Vec<u8> {
        let mut iv = [5; 12];
        let parameters = GcmParams::new(&mut iv, b"context", 128.into()).expect("parameters");
        self.session.decrypt(&Mechanism::AesGcm(parameters), self.key, cipher).expect("decrypted")
    }
}
