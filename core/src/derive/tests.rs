//! Vectors of BIP-32 (those of its public derivation), and the rules.

use super::*;
use crate::curve::{P256, Secp256k1};

type Key = ExtendedKey<Secp256k1>;

/// An extended public key of the vectors, taken apart by hand.
fn parse(xpub: &str) -> (PointBytes, Digest) {
    let mut bytes = [0; 82];
    assert_eq!(bs58::decode(xpub).with_check(None).onto(&mut bytes).unwrap(), 78);
    assert_eq!(bytes[..4], XPUB_HEAD[..4]);
    (PointBytes(bytes[45..78].try_into().unwrap()), bytes[13..45].try_into().unwrap())
}

fn key(xpub: &str) -> Key {
    let (point, chain_code) = parse(xpub);
    Key::new(Secp256k1, &point, chain_code).unwrap()
}

fn path(indices: &[u32]) -> Derivation {
    Derivation::Path(Path::new(indices).unwrap())
}

const ROOT_1: &str = "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8";
const ROOT_2: &str = "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB";

/// Test vectors 1 and 2: every unhardened step, and the two that follow each other.
const STEPS: [(&str, &[u32], &str); 7] = [
    (
        "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
        &[1],
        "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
    ),
    (
        "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        &[2],
        "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
    ),
    (
        "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
        &[1_000_000_000],
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
    (
        "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        &[2, 1_000_000_000],
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
    (
        ROOT_2,
        &[0],
        "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
    ),
    (
        "xpub6ASAVgeehLbnwdqV6UKMHVzgqAG8Gr6riv3Fxxpj8ksbH9ebxaEyBLZ85ySDhKiLDBrQSARLq1uNRts8RuJiHjaDMBU4Zn9h8LZNnBC5y4a",
        &[1],
        "xpub6DF8uhdarytz3FWdA8TvFSvvAh8dP3283MY7p2V4SeE2wyWmG5mg5EwVvmdMVCQcoNJxGoWaU9DCWh89LojfZ537wTfunKau47EL2dhHKon",
    ),
    (
        "xpub6ERApfZwUNrhLCkDtcHTcxd75RbzS1ed54G1LkBUHQVHQKqhMkhgbmJbZRkrgZw4koxb5JaHWkY4ALHY2grBGRjaDMzQLcgJvLJuZZvRcEL",
        &[2],
        "xpub6FnCn6nSzZAw5Tw7cgR9bi15UV96gLZhjDstkXXxvCLsUXBGXPdSnLFbdpq8p9HmGsApME5hQTZ3emM2rnY5agb9rXpVGyy3bdW6EEgAtqt",
    ),
];

#[test]
fn the_published_public_derivations() {
    for (parent, indices, child) in STEPS {
        let parent = key(parent);
        let derived = parent.derive(&path(indices)).unwrap();
        assert_eq!((*derived.encoded(), *derived.chain_code()), parse(child), "{indices:?}");
        // ε sums up over the steps: the share of Y is x_i + ε.
        let shifted = parent.point + Secp256k1::mul_base(derived.tweak());
        assert_eq!(Secp256k1::point_to_bytes(&shifted), Some(*derived.encoded()));
        assert_eq!(derived.point(), shifted);
    }
}

#[test]
fn a_root_is_shown_as_wallets_read_it() {
    for xpub in [ROOT_1, ROOT_2] {
        assert_eq!(key(xpub).xpub().unwrap().as_str(), xpub);
    }
    assert_eq!(on_p256().xpub(), None);
}

fn on_p256() -> ExtendedKey<P256> {
    let point = P256::mul_base(&p256::Scalar::from(7u64));
    ExtendedKey::new(P256, &P256::point_to_bytes(&point).unwrap(), [9; 32]).unwrap()
}

#[test]
fn the_root_is_the_key_itself() {
    let root = key(ROOT_1);
    let derived = root.derive(&Derivation::Root).unwrap();
    assert_eq!(*derived.tweak(), k256::Scalar::ZERO);
    assert_eq!((derived.point(), *derived.chain_code()), (root.point, root.chain_code));
}

fn for_context<G: Group>(key: &ExtendedKey<G>, text: &str) -> DerivedKey<G> {
    key.derive(&Derivation::Context(text.parse().unwrap())).unwrap()
}

/// ε as documented, put together by hand.
#[test]
fn a_context_gives_what_the_documentation_says() {
    let key = on_p256();
    let input = |tag| {
        Transcript::new(tag).bytes(&[2]).bytes(&key.encoded.0).bytes(&[9; 32]).bytes(b"customer 17")
    };
    let tweak = P256.scalar_from_wide(&input("derive").wide());
    let derived = for_context(&key, "customer 17");
    assert_eq!(*derived.tweak(), tweak);
    assert_eq!(derived.point(), key.point + P256::mul_base(&tweak));
    assert_eq!(*derived.chain_code(), input("derive-cc").finish());
}

#[test]
fn every_input_of_a_context_counts() {
    let key = on_p256();
    let derived = for_context(&key, "a");
    let other_code = ExtendedKey { chain_code: [8; 32], ..key };
    let double = P256::point_to_bytes(&P256::double(&key.point)).unwrap();
    let other_key = ExtendedKey::new(P256, &double, key.chain_code).unwrap();
    for other in
        [for_context(&key, "b"), for_context(&other_code, "a"), for_context(&other_key, "a")]
    {
        assert_ne!(derived.tweak(), other.tweak());
        assert_ne!(derived.chain_code(), other.chain_code());
    }
    // On secp256k1 too, and apart from the paths there.
    let root = self::key(ROOT_1);
    assert_ne!(for_context(&root, "m/0").tweak(), root.derive(&path(&[0])).unwrap().tweak());
}

#[test]
fn paths_need_a_suite_with_wallets() {
    let refused = DeriveError::NoPaths(Suite::EcdsaP256);
    assert_eq!(on_p256().derive(&path(&[0])).unwrap_err(), refused);
}

/// A left half of p or above cannot be had on purpose; what can be had is a shift to the identity.
#[test]
fn a_shift_to_the_identity_is_refused() {
    let root = key(ROOT_1).derive(&Derivation::Root).unwrap();
    let one = ExtendedKey { point: k256::ProjectivePoint::GENERATOR, ..root.key };
    let root = DerivedKey { key: one, ..root };
    assert_eq!(root.shifted(&-k256::Scalar::ONE, [0; 32]), Err(DeriveError::Invalid));
    assert!(root.shifted(&k256::Scalar::ONE, [0; 32]).is_ok());
}

#[test]
fn paths_are_read_in_one_spelling() {
    let parsed = |text: &str| text.parse::<Path>().map(|path| path.indices().len());
    assert_eq!(parsed("m/0/5"), Ok(2));
    assert_eq!("m/0/5".parse::<Path>().unwrap().indices(), [0, 5]);
    assert_eq!("m/0/2147483647".parse::<Path>().unwrap().indices(), [0, 0x7fff_ffff]);
    assert_eq!(parsed("m/1/2/3/4/5/6/7/8/9/10"), Ok(10));
    assert_eq!(parsed("m/1/2/3/4/5/6/7/8/9/10/11"), Err(DeriveError::TooDeep));
    assert_eq!(parsed("m"), Err(DeriveError::EmptyPath));
    for hardened in ["m/44'", "m/44h", "m/44H", "m/2147483648", "m/4294967295"] {
        assert_eq!(parsed(hardened), Err(DeriveError::Hardened { step: 1 }), "{hardened}");
    }
    assert_eq!(parsed("m/0/1/2'/3"), Err(DeriveError::Hardened { step: 3 }));
    for nonsense in [
        "",
        "/",
        "m/",
        "0/5",
        "M/0",
        "m/0/",
        "m//0",
        "m/00",
        "m/+1",
        "m/-1",
        "m/ 1",
        "m/4294967296",
        "m/0''",
        "m/'",
    ] {
        assert_eq!(parsed(nonsense), Err(DeriveError::Syntax), "{nonsense:?}");
    }
    assert_eq!(Path::new(&[]), Err(DeriveError::EmptyPath));
    assert_eq!(Path::new(&[0; 11]), Err(DeriveError::TooDeep));
    assert_eq!(Path::new(&[0, 1 << 31]), Err(DeriveError::Hardened { step: 2 }));
}

#[test]
fn contexts_have_1_to_64_bytes() {
    for length in [1, 64] {
        let text = &"x".repeat_into()[..length];
        assert_eq!(text.parse::<Context>().unwrap().as_str(), text);
    }
    assert_eq!("".parse::<Context>(), Err(DeriveError::ContextLength));
    assert_eq!("x".repeat_into()[..65].parse::<Context>(), Err(DeriveError::ContextLength));
    // Bytes count, not characters: 33 times two.
    let umlauts = "ö".repeat_into();
    assert_eq!(umlauts[..66].parse::<Context>(), Err(DeriveError::ContextLength));
    assert!(umlauts[..64].parse::<Context>().is_ok());
}

/// What there is of `str::repeat` without an allocator.
trait Repeat {
    fn repeat_into(&self) -> heapless::String<80>;
}

impl Repeat for str {
    fn repeat_into(&self) -> heapless::String<80> {
        let mut all = heapless::String::new();
        while all.push_str(self).is_ok() {}
        all
    }
}

#[test]
fn bytes_that_break_a_rule_do_not_decode() {
    use crate::wire::{DecodeError, decode, encode};
    let mut buffer = [0; 128];
    for (derivation, expected) in [
        (Derivation::Root, &[0u8][..]),
        (path(&[0, 133]), &[1, 2, 0, 0x85, 1]),
        (Derivation::Context("ab".parse().unwrap()), &[2, 2, b'a', b'b']),
    ] {
        let bytes = encode(&derivation, &mut buffer).unwrap();
        assert_eq!(bytes, expected, "{derivation}");
        assert_eq!(decode::<Derivation>(bytes), Ok(derivation));
    }
    for bad in [
        &[3u8][..],
        // No step; eleven; a hardened one.
        &[1, 0],
        &[1, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        &[1, 1, 0x80, 0x80, 0x80, 0x80, 8],
        // No text; no UTF-8.
        &[2, 0],
        &[2, 1, 0xff],
    ] {
        assert_eq!(decode::<Derivation>(bad), Err(DecodeError::Malformed), "{bad:?}");
    }
    let mut long = [b'x'; 67];
    (long[0], long[1]) = (2, 65);
    assert_eq!(decode::<Derivation>(&long), Err(DecodeError::Malformed));
}
