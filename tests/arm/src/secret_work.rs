//! The same work over many secrets.

use core::hint::black_box;

use heapless::Vec;
use quorate_core::curve::{Group, Secp256k1};
use semihosting::println;

use crate::group::Meter;

const SECRETS: usize = 24;

pub(crate) fn all() {
    let scalars: Vec<_, SECRETS> =
        (0..SECRETS as u8).map(|seed| Secp256k1::scalar_from_wide(&[seed.wrapping_mul(77); 48])).collect();
    println!("begin base");
    for scalar in &scalars {
        let mut meter = Meter::default();
        meter.time(|| black_box(Secp256k1::mul_base(black_box(scalar))));
        println!("ticks {}", meter.ticks);
    }
}
