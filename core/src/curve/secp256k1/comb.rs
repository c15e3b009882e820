//! k·G on a chip, by a comb (Lim and Lee, Crypto '94): half the time of a multiplication of any point, for a
//! table of 2 KB that lies in flash.
//!
//! The scalar's bits i, i + 52, … i + 208 are one index; 52 of them are taken from the highest i down, each with
//! a doubling before it. What is done does not depend on them: the whole table is read for each, and the sum of
//! index 0 is thrown away.

use k256::elliptic_curve::sec1::FromEncodedPoint as _;
use k256::elliptic_curve::subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar};
use zeroize::Zeroize as _;

/// Between two bits of one index.
const STEP: usize = 52;
/// Bits of an index.
const TEETH: usize = 5;

/// x and y of Σ_j u_j·2^(52·j)·G for the index u from 1, as big-endian words. A test computes them again.
#[rustfmt::skip]
const TABLE: [[u32; 16]; (1 << TEETH) - 1] = [
    [0x79be667e, 0xf9dcbbac, 0x55a06295, 0xce870b07, 0x029bfcdb, 0x2dce28d9, 0x59f2815b, 0x16f81798,
     0x483ada77, 0x26a3c465, 0x5da4fbfc, 0x0e1108a8, 0xfd17b448, 0xa6855419, 0x9c47d08f, 0xfb10d4b8],
    [0x8e7bcd0b, 0xd35983a7, 0x719cca77, 0x64ca9067, 0x79b53a04, 0x3a9b8bca, 0xeff959f4, 0x3ad86047,
     0x10b7770b, 0x2a3da4b3, 0x94031042, 0x0ca95145, 0x79e88e2e, 0x47fd68b3, 0xea10047e, 0x8460372a],
    [0xc0a60972, 0x6d6328c6, 0x7392fe71, 0x01110e1f, 0x7827ccd5, 0xa9b17323, 0x74328667, 0x1ed7eee7,
     0xfc24d5b7, 0xd605c301, 0x145ee80e, 0x5db9be3d, 0x8edf3c26, 0x303fb7e5, 0xc3752c3e, 0xdc69e1ce],
    [0xc738c56b, 0x03b2abe1, 0xe8281baa, 0x743f8f9a, 0x8f7cc643, 0xdf26cbee, 0x3ab15024, 0x2bcbb891,
     0x893fb578, 0x951ad253, 0x7f718f2e, 0xacbfbbbb, 0x82314eef, 0x7880cfe9, 0x17e735d9, 0x699a84c3],
    [0xbfc2d555, 0xe4ffc15c, 0x58eb23f6, 0x61a84676, 0x9147a764, 0xe5b9da42, 0x9d39c3cd, 0xdc7bcf13,
     0xb4a78631, 0x5530fe36, 0xbc0aaa66, 0xc1bf08be, 0x56ef4fba, 0xde124564, 0x2a4a1324, 0x59b9bec9],
    [0x9bc21301, 0x33e599e0, 0x86d7af29, 0x4a910719, 0xb20a8ff6, 0xd73ee44a, 0x3d67d146, 0x9e41f197,
     0x9f33812e, 0x7508c0e7, 0x6a7b5537, 0x7aa49bec, 0x0e8fde54, 0x19c01401, 0x10a2660d, 0xefbde3d6],
    [0x541ccfef, 0xa0fd5d71, 0x7cd07090, 0xe4ab6320, 0x50d357dd, 0xa4830508, 0xbd422767, 0x8118bf1d,
     0xced807c9, 0x55f519a8, 0xaa4a3e84, 0xfb855ff5, 0xf2516e54, 0x886e9f21, 0x9057bc09, 0xf6e48013],
    [0x4df9c149, 0x19cde61f, 0x6d51dfdb, 0xe5fee5dc, 0xeec4143b, 0xa8d1ca88, 0x8e8bd373, 0xfd054c96,
     0x0035ec51, 0x092d8728, 0x050974c2, 0x3a1d85d4, 0xb5d506cd, 0xc2884901, 0x92ebac06, 0xcad10d5d],
    [0x9ea471e9, 0xc2f0bfe0, 0x8539c37b, 0x66fda64d, 0x8504f89b, 0x59af300d, 0x90d4a05c, 0xd9c3b41a,
     0xc0c868e5, 0x471e3900, 0x53aad005, 0xf4a4a777, 0x346601b9, 0x0e1af314, 0x78bef128, 0x88b92d14],
    [0x3bb654b0, 0x479312a4, 0x373fddf5, 0x31a0c1b2, 0x8ac28fc0, 0xb39c65c3, 0x0a41f308, 0xa972062f,
     0x6c348ea7, 0x895148a6, 0x084ac6ed, 0xb4d59215, 0x16d86529, 0x17b92cff, 0x8b7e7a84, 0xee38dc58],
    [0x9ba0b77d, 0xb824f0b2, 0xda715229, 0x9bea5fe9, 0x6eb41655, 0x53a5934f, 0x967d8a33, 0xe0fcb9dd,
     0xe136cb59, 0x775b13cd, 0x22a41e97, 0xc76065ac, 0x32237ade, 0x7c4d2e1d, 0xe0a273df, 0xb22700c2],
    [0x7a7959ed, 0x88b5339f, 0x7a360fa2, 0x0769092a, 0x852f8c5d, 0x61f3c3c3, 0x5ccad733, 0xde38f5a1,
     0x0d6a910e, 0xeec9ee05, 0x7e1538c1, 0xf178b17b, 0x95a97c26, 0x312c851d, 0xe56b35be, 0xe83e937c],
    [0x15523f6e, 0x580dc783, 0xd58485db, 0xd2397b9e, 0x77e6191a, 0x9f645f87, 0xa82a532d, 0x9e9fbc99,
     0x0504a480, 0xcdf7b3a9, 0x0fb14554, 0x4525f9f5, 0x25cc553d, 0x49214ed2, 0xfb1ec968, 0x0b196821],
    [0x993995f4, 0xceb7ae1e, 0xdcf2a1a9, 0xb53ab969, 0x585365e2, 0x4c5cc067, 0x543492fb, 0x26b32bf1,
     0xcdd3a299, 0x80ebfe8c, 0x78b40e14, 0xb4dc6db5, 0xc8320c9a, 0x043a9b4d, 0xdad4cd08, 0x2ca07632],
    [0x724ec6b7, 0xbc055b4f, 0x866c5fa6, 0x15f1a2a9, 0x5d71c0a1, 0xb2d9ac4b, 0x457e18aa, 0xc4881ed4,
     0x2278626d, 0xb6a66eee, 0x42884d32, 0xdb253ba2, 0x5feb7f82, 0x682e487c, 0xe2e12a20, 0x5cf8801d],
    [0xfa50c0f6, 0x1d22e5f0, 0x7e3acebb, 0x1aa07b12, 0x8d001220, 0x9a28b977, 0x6d76a879, 0x3180eef9,
     0x6b84c692, 0x2397eba9, 0xb72cd287, 0x2281a68a, 0x5e683293, 0xa57a213b, 0x38cd8d7d, 0x3f4f2811],
    [0x1621ade8, 0x5348d428, 0xf888c179, 0xc3ff9d0b, 0xe79b1d21, 0x1833891a, 0xbaebc358, 0x863e4d1f,
     0x7e3e9ad7, 0xdc6b8b71, 0x8693a416, 0xb04cae27, 0x8ac8bc5c, 0xf203f3d3, 0x7c1739d8, 0xcbde7bf5],
    [0xbe82a87f, 0x87ac3f60, 0x1960303e, 0x3ce86ea7, 0x2115d12a, 0xba3f73c6, 0xc396fab3, 0x958d7470,
     0xa623715d, 0xd552f9a3, 0x80504f4b, 0x44fa3e96, 0x6d0925a6, 0x33a7be96, 0x57114695, 0xe504673b],
    [0x0e1f3115, 0x23a985ba, 0x1918fbf0, 0x2ee5ca03, 0x72e3e8f1, 0x32095657, 0x82a20559, 0xd27a2dd6,
     0x2dd46211, 0xa66b1102, 0x5441c7b0, 0x25dc6adb, 0xd2893fa3, 0xc9fc776c, 0xd38d6eb9, 0x86b1e576],
    [0xfe1ca893, 0xc8bc0888, 0xaa376a68, 0x7e4a5106, 0xb2c40446, 0xbfff1840, 0x9b836c6e, 0xea47f3eb,
     0x2595e886, 0xacabd83e, 0x82458d07, 0x43db48a5, 0x8605a84f, 0x3e03619e, 0x350171a0, 0x9f7cbdf6],
    [0xd04e35be, 0x7154e43f, 0xe7af797e, 0x253b325a, 0xeac5e9c2, 0xe845d4bd, 0xaa377f20, 0xb3347d19,
     0x0179eba5, 0xf31cd3a4, 0x6715b86f, 0x8803b677, 0xc649082f, 0x1ce94907, 0x75ddc2b5, 0x8fdd94b0],
    [0x4c963df9, 0x929c91eb, 0x07b57d9f, 0x4d15b80b, 0x46f098d2, 0x3ab6dc53, 0x46f63234, 0x2e8fdb15,
     0x9be4c88c, 0xa3130d78, 0xea7931dc, 0xd9269aa2, 0x523e3fe2, 0xeb47bcdb, 0xe79be64d, 0x945dd325],
    [0x1293c805, 0x16bde3a7, 0xe70a2750, 0x2b8f7323, 0x05b1f632, 0x98f52d02, 0xea060d89, 0x8843f925,
     0x25a1c0b8, 0xbfd4f859, 0xae147845, 0x694c2420, 0x5d36333c, 0x229ca347, 0x2f5fde3d, 0xe3f76a0a],
    [0xb9b00384, 0x1ced5c38, 0xfb15f740, 0x5d14de5e, 0x5ec3b1ab, 0xde5a5710, 0xa41ca8fc, 0xf523f145,
     0xfe6f7db6, 0xe8d7b34e, 0x47cf9ee4, 0xe48c40fe, 0x980a386a, 0x33d05ca3, 0x85b84547, 0x6c3394c8],
    [0x9b0457e6, 0x1a2a4570, 0x195c3396, 0x1d0dd4fe, 0x7dc40d14, 0xefa1115c, 0x2bb3eb03, 0x91e1887e,
     0x2b65a9e0, 0x916b891f, 0x9a1bf666, 0xda56ef9e, 0x432657c9, 0xa07cb95d, 0x8d9793e9, 0x80a7b570],
    [0x374642a9, 0xe1b2571c, 0x7c8db828, 0x937945f7, 0xfa46e33a, 0xbc968ecc, 0x47ab7715, 0x0fedd437,
     0xeae7c348, 0x81c7aee9, 0x9adaf518, 0x84f65c3a, 0x5fb1702f, 0x86e3d903, 0xdf83151c, 0x8bcfb8db],
    [0x64f751b4, 0x355dcd84, 0x9fbfe405, 0x1a6bbecf, 0x9d943719, 0x5fc1fa0a, 0x5a5e7d06, 0x9b969891,
     0x0fbb2594, 0xb790b83f, 0xb85fe724, 0x7e7930db, 0xb9941b9f, 0xc98804cb, 0x596361f2, 0xdb96ef6c],
    [0x2cb6ece5, 0xcae10452, 0x0c958d61, 0xa17c7dd1, 0x6b84e815, 0xb4ec24a2, 0xeb62cd0a, 0x2e2f7365,
     0x0d041a6c, 0xae607168, 0xf35f7665, 0x0de237e7, 0x6c776e20, 0xb06c74dd, 0x5fbd20be, 0xc16df050],
    [0x0720a44d, 0x97be6f02, 0x2be2790d, 0x12c2c4c8, 0xe6b3958d, 0x2a58a4e9, 0x57186dc0, 0xadea7962,
     0xc9f828f5, 0xfacadfe7, 0x8cef3094, 0x3dd306a9, 0xaae177e7, 0x4aa89bb4, 0x1feb91a6, 0xc67131ca],
    [0x561745cf, 0x86afa641, 0xdf88f481, 0x5193c24b, 0xd7d73bf6, 0x5461aeb3, 0x0d3c7550, 0xd48a3e80,
     0x574823cc, 0xab15b33f, 0xbcd76f67, 0x34092867, 0x84142782, 0xf0e52906, 0x5f058be2, 0x32d71193],
    [0x892a09ec, 0x30ef2135, 0x566b058b, 0x228ab159, 0xcc0fc919, 0x1d4bf2cd, 0x11f8813e, 0xfd32e1cc,
     0xab3a52b1, 0x8a7f8937, 0x95bdf49c, 0x0acd8f4f, 0xf2b2f5cc, 0xf43a18dd, 0x4c3c6c07, 0x464a8415],
];

/// The index of the bits i, i + 52, ….
fn index(bytes: &[u8], i: usize) -> u32 {
    (0..TEETH).fold(0, |index, tooth| {
        let place = i + tooth * STEP;
        // Big-endian; there are fewer than 260 bits.
        let byte = 31usize.checked_sub(place / 8).and_then(|at| bytes.get(at));
        index | u32::from(byte.copied().unwrap_or(0) >> (place % 8) & 1) << tooth
    })
}

/// All ones if the two are equal, else 0.
fn mask(a: u32, b: u32) -> u32 {
    u32::from(a.ct_eq(&b).unwrap_u8()).wrapping_neg()
}

/// The point of an index; for 0 any point.
#[inline(never)]
fn entry(index: u32) -> AffinePoint {
    let index = index | (mask(index, 0) & 1);
    let mut words = [0; 16];
    for (number, row) in (1..).zip(&TABLE) {
        let mask = mask(index, number);
        words.iter_mut().zip(row).for_each(|(to, from)| *to |= from & mask);
    }
    let mut coordinates = [[0; 32]; 2];
    let places = coordinates.iter_mut().flat_map(|bytes| bytes.chunks_mut(4));
    places.zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_be_bytes()));
    words.zeroize();
    let [x, y] = coordinates.map(FieldBytes::from);
    let point = EncodedPoint::from_affine_coordinates(&x, &y, false);
    // All are on the curve.
    AffinePoint::from_encoded_point(&point).unwrap_or(AffinePoint::IDENTITY)
}

/// `scalar`·G, in constant time.
#[inline(never)]
pub(super) fn mul_base(scalar: &Scalar) -> ProjectivePoint {
    let mut bytes: [u8; 32] = scalar.to_bytes().into();
    let mut sum = ProjectivePoint::IDENTITY;
    for i in (0..STEP).rev() {
        sum = sum.double();
        let index = index(&bytes, i);
        let added = sum + entry(index);
        sum.conditional_assign(&added, !index.ct_eq(&0));
    }
    bytes.zeroize();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Group as _, Secp256k1};

    #[test]
    fn the_table_is_what_it_says() {
        let teeth: [ProjectivePoint; TEETH] = core::array::from_fn(|tooth| {
            (0..tooth * STEP).fold(ProjectivePoint::GENERATOR, |point, _| point.double())
        });
        for index in 1..1 << TEETH {
            let picked = (0..TEETH).filter(|tooth| index >> tooth & 1 == 1);
            let sum: ProjectivePoint = picked.map(|tooth| teeth[tooth]).sum();
            assert_eq!(ProjectivePoint::from(entry(index)), sum, "{index}");
        }
    }

    #[test]
    fn it_multiplies_as_the_library_does() {
        let small = (0..70u64).map(Scalar::from);
        let wide = (0..=255u8).map(|byte| Secp256k1::scalar_from_wide(&[byte; 48]));
        for scalar in small.clone().chain(small.map(|scalar| -scalar)).chain(wide) {
            assert_eq!(mul_base(&scalar), ProjectivePoint::GENERATOR * scalar);
        }
    }
}
