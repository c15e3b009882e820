//! k·G on a chip, by a comb (Lim and Lee, Crypto '94) with signed digits (Hamburg, ePrint 2012/309): a third of the
//! time of a multiplication of any point, for a table of 2 KB that lies in flash.
//!
//! With digits ±1 for the bits 1 and 0, the digits of m = (k + 2^258 − 1)/2 mod p are Σ ±2^i = 2m − (2^258 − 1) = k.
//! Six of them, i, i + 43, … i + 215, are one column; 43 columns are taken from the highest i down, each with a
//! doubling before it. A column and its negative share a row of the table, since one is minus the other. No column
//! is 0. What is done does not depend on the digits: the whole table is read for each column, and the sign selects
//! one of two points.

use k256::elliptic_curve::sec1::FromEncodedPoint as _;
use k256::elliptic_curve::subtle::{Choice, ConditionallySelectable as _};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use super::constant;

/// Between two digits of one column.
const STEP: usize = 43;
/// Digits of a column.
const TEETH: usize = 6;

/// 1/2 and (2^258 − 1)/2 modulo p.
const HALF: U256 =
    U256::from_be_hex("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1");
const SHIFT: U256 =
    U256::from_be_hex("80000000000000000000000000000001e7f9b4a5f9130fa66044722cc7ae9e1e");

/// x and y of 2^215·G + Σ_j ±2^(43·j)·G, where the sign is that of bit j of the row's number, as sixteen big-endian
/// words: the first four of all rows, then the next. A test computes them again.
#[rustfmt::skip]
const TABLE: [[[u32; 4]; 1 << (TEETH - 1)]; 4] = [
    [
        [0x850294c9, 0x3956301d, 0x65e74c58, 0xfa7707ed], [0xcbedccdc, 0x2edfcdd4, 0x982e58e3, 0x3bc3c1a7],
        [0x1a991e84, 0x7dd882f3, 0xf90d1603, 0x906387fe], [0x4dbe2f2b, 0xf290bf83, 0xca23bcf2, 0x13cc7ae1],
        [0x35e9aa00, 0x47d425aa, 0x229cb2d2, 0x9e1f2c24], [0xc7eb264c, 0xfbe9651a, 0xc469660b, 0x6752c2c8],
        [0x6997ed18, 0x5e0b540d, 0xd0da990e, 0x60964ce8], [0x79a18526, 0x3eb2e841, 0xc8c7756a, 0x31bba94a],
        [0xd785638d, 0x0521a05d, 0xfb4c3864, 0x509878d5], [0xa3e09e81, 0xbfa00866, 0x620c0ccd, 0x06db557e],
        [0x628e97b7, 0xe6e07d24, 0xd3b4d52c, 0x06c995fd], [0x6c1dff1d, 0xe7a6a813, 0x79a4488f, 0xf00ba876],
        [0xc4c84747, 0xf9925667, 0x5714dabb, 0x2d50f330], [0x12d770df, 0xdf59d540, 0x5e7fcc4f, 0x3b1dcc60],
        [0x782fcbc2, 0xdf5bfef1, 0xa2842a76, 0x68369b65], [0x81e32f3e, 0x66a18f84, 0xeeee55f4, 0xbfd6fac3],
        [0xd911b773, 0x0c0edc4b, 0x3253c45c, 0x430e4918], [0x6fcc4bd2, 0x6ff8edac, 0x893b5855, 0xa9e9c837],
        [0x86052e44, 0x02219bc6, 0x4ab36084, 0xbd27d6a6], [0x34c043bb, 0x2bc4b3bd, 0xb7eca207, 0x2712f528],
        [0xd0048bf6, 0x605828c2, 0x0fe43be7, 0x3591d3eb], [0x437a09c1, 0xfc3fe71a, 0xd0dfa1b7, 0x2884af01],
        [0x5b53a380, 0xb5e18c5e, 0x5b80df5d, 0x0bae1831], [0xd71f59ff, 0x5c030961, 0x37137a8a, 0x75b9927b],
        [0x632a5854, 0x2e360947, 0x76a5dbc0, 0xae44f97d], [0xa914609d, 0xa476e65b, 0xe3ed6a84, 0x9f0f0c37],
        [0x1096b092, 0x3043ac90, 0x97541c3a, 0x690d3182], [0xbbc1a6d3, 0xf2f8a953, 0x6179e097, 0xf2c51fad],
        [0xd4a390ab, 0x22ad92b1, 0xbf85b3de, 0x1b768fce], [0x6ac25385, 0x213777f0, 0x45987cef, 0x9e4e98de],
        [0x002ae299, 0x6927d13f, 0x4eaf61e4, 0x55c1eae5], [0x25898ad2, 0x570fba39, 0x142893fd, 0xba91bf45],
    ],
    [
        [0xde977580, 0x2f662bde, 0xdb39c7a2, 0xd5d627c9], [0xe42a1659, 0xf14d99a9, 0x019101ae, 0xdf63d58b],
        [0x0ddc6135, 0x946adeb7, 0xaeb65301, 0x0cba4b52], [0x8b88d763, 0xba34414a, 0x91db46de, 0x15874440],
        [0xd2d07842, 0xca3f5d4f, 0xbe0f88eb, 0x78f2bfa8], [0xc243a958, 0xafbb906f, 0x78d78dfc, 0x27ee69ff],
        [0x3be4de2d, 0xc55ffa3b, 0xe27a55a0, 0xcfba0411], [0xbffcdf4f, 0x91bc1f18, 0x6c8df6eb, 0x6719a72f],
        [0x755ded08, 0x82326727, 0x8e8b8dde, 0x8be31a7e], [0xe37152a5, 0xd3f9a395, 0xb8b94404, 0x96cbf991],
        [0x62fc18a0, 0x19d41abc, 0x900c85c2, 0x88cc3bd5], [0x00b72838, 0x0f47fce0, 0xef46eb80, 0x028aaf16],
        [0x34c96ac7, 0xc7718725, 0x88303390, 0xf329c70b], [0x9ccfba87, 0xb8a26616, 0x5eb4cabb, 0xb420ff7f],
        [0x986e06f0, 0xf6613191, 0xf483fe01, 0x7338844d], [0x1ee24927, 0x80554252, 0x240ba21e, 0x888a3ad2],
        [0xa49dce3e, 0x172e3391, 0x8db7cad6, 0x190e11aa], [0x5d2b1a40, 0x6a439df1, 0x30cd2196, 0x96155ae8],
        [0xa3ab8344, 0x6b4b3bbf, 0x232b84a5, 0x09e6f88f], [0x998e5f72, 0xa8beabd9, 0x48332c13, 0x8f434ce1],
        [0x3398ab12, 0x3237970a, 0xd6938105, 0xdb7933da], [0xa7b9002b, 0x46b72778, 0x099d79af, 0x6526d471],
        [0x16d98ee6, 0x910fdd94, 0xf42c9c56, 0x428b7fac], [0x218cf405, 0x41f15833, 0xeda51c10, 0xa1849c40],
        [0xb0c24064, 0x3d7a0ea2, 0x4400b8b1, 0xee562aba], [0x06b7f53c, 0xd19bc50c, 0x4cf22589, 0x67242808],
        [0xa52b11ab, 0xa25c3fc8, 0x7906fc8d, 0xf61355be], [0x98158b27, 0xca28f719, 0xb7844341, 0xc940fffb],
        [0xcc2b11db, 0x4de47592, 0x5dc1a7ca, 0x18e13489], [0x916e00f6, 0x5467b429, 0x89c313aa, 0x6b9e6d5b],
        [0xe40ecc44, 0xfd10c4ab, 0xb45a2b0d, 0x03df301b], [0x5ae91d7f, 0xfb3b1b98, 0x93ccad49, 0x1f530fee],
    ],
    [
        [0xcc21a802, 0xd21a5f7e, 0xa645a1f2, 0x45eed99c], [0xeb57ff91, 0xe6a4e818, 0x9e2d9603, 0x6766494d],
        [0xef550780, 0x0735b981, 0x8cf16e36, 0x3068a229], [0x8fbce134, 0x7870108a, 0x93c04728, 0x2c9ccd5f],
        [0x5ea4e02f, 0xc0c73a55, 0x682cedac, 0xe4013370], [0x8d0325c8, 0x72c81edb, 0x8fa2dc8b, 0x13c95ac6],
        [0x94423651, 0x9c4a183f, 0x59e33176, 0xe26ad9d2], [0xcf341153, 0x52f87034, 0xeff10a9c, 0x54f808b6],
        [0xc5356f5d, 0x6480ce24, 0x6ca78d69, 0x82889427], [0x3ddce942, 0x693096bd, 0x09a8c8f9, 0x041bf615],
        [0xfd0135bc, 0x5f5c191d, 0xfcee3b25, 0xde1a07a8], [0xa73e7d1f, 0x57e3e8b7, 0x7ce99e62, 0x3ac9506c],
        [0x3613431e, 0x98393162, 0xfece1167, 0x1e00f368], [0x90220695, 0x1278ce29, 0xb822ff8b, 0xc9582440],
        [0xc600ffe5, 0xe21ef8ca, 0x3ab1fc52, 0xac810090], [0x6041deae, 0x112ab725, 0x2e6a0246, 0xb11b46fc],
        [0x0b73d35d, 0x34d80a4d, 0x1d833dc1, 0xf997b059], [0xee2599ae, 0xb6f1e8eb, 0xeabd0f79, 0x8369b47e],
        [0x71c38cda, 0x76653aed, 0x72afb207, 0x00cc7703], [0x1336e529, 0x8e402ee5, 0xa067b1c9, 0x0f72bb16],
        [0x8de9ad99, 0x0b1e927c, 0xaee1f3fb, 0x6afcf3a2], [0xd8ed8d55, 0x64da4aad, 0xbcec9ca7, 0xc3c29cd1],
        [0xeeb0f408, 0x14aead37, 0xacb2eebc, 0x14cda2bc], [0x69b12bae, 0x3d61a3f7, 0x1b1a8480, 0xe452dc04],
        [0xa7cfcae7, 0x5a5b84e3, 0x3c81a0ff, 0xefd0a136], [0xe302e705, 0x9a5b6a1b, 0xcd516889, 0xc4e860be],
        [0x2739ef3f, 0xb4487918, 0x2fe154f9, 0xb0dc267c], [0x749ffa5c, 0x6ce4640d, 0xb901cee6, 0x199854ea],
        [0x237a8046, 0x0ae3c303, 0x41c8246f, 0x91851007], [0x665763c7, 0xf1c9b9c3, 0x56927949, 0xb2b636af],
        [0xb66e55fb, 0x31594aa5, 0xd0053b23, 0x1b9b1971], [0x2188b6d4, 0xb0267681, 0xc9d4aad1, 0xf28203db],
    ],
    [
        [0x37a950e4, 0xdea121c1, 0x8e9b3db0, 0x4e6525fc], [0x5910680f, 0x8c68282e, 0xc3d1be70, 0x100d1d52],
        [0xd3aa590f, 0xec116f73, 0x4d67a0f6, 0xbeabc0ce], [0xdf372a42, 0x95ef8189, 0xd19892a9, 0xc7e84417],
        [0x51332c95, 0xeebe8697, 0x01282c9b, 0x31157722], [0x72a494cf, 0xe2f5c213, 0xa4efdd31, 0x27ddf946],
        [0xb923cf19, 0x41be9a44, 0xe4424f70, 0x03da3012], [0x0129e40c, 0x8fa41fcb, 0x559b54a3, 0x134a8278],
        [0xf2ba32d9, 0xe7b0fc10, 0x84938755, 0xac0812f3], [0xfcc1c7b2, 0x768c8823, 0x1bb73fb2, 0xc2442755],
        [0xc31df4fe, 0x63c8f4c7, 0x682a12e2, 0xbd4f53e0], [0xf7fe511c, 0x81090610, 0xe4604fbf, 0xf6e9bf89],
        [0x60addc91, 0xea37d33e, 0xb6563db7, 0xa91d4c5f], [0xe6ce7ea2, 0xe1901bc3, 0x7da79b7b, 0x029bbbe2],
        [0x4ff46a17, 0x6c1770d1, 0x7100718e, 0xce1189e3], [0x2b134dbf, 0xc8bcba69, 0x6d026ca9, 0x79f91bf7],
        [0x77558f41, 0x43719ba5, 0xf18388e0, 0x36393973], [0x597ff579, 0x3b8402c5, 0xa5f1a5e9, 0x81551866],
        [0x4037c3a9, 0x8b43ba18, 0xa68d5358, 0x5f34c7c9], [0xb4a6d35f, 0x7b6be7b8, 0x1a0ceeb7, 0xf1e87a43],
        [0x3e88162f, 0x00ae55b3, 0xaded3b68, 0x1e42677e], [0xe7161f2c, 0xa5118ee9, 0xe6e19f56, 0xe270ee5e],
        [0x7d101e9b, 0x0245bbe7, 0x41fe0cd9, 0x035ed5ee], [0xd8bb242b, 0x2bff6d9a, 0x08dc450b, 0x913923fc],
        [0x1fd01d87, 0x2f438eb8, 0x15c14529, 0x7b9bafdb], [0xe612510a, 0xfac285d1, 0x7fe27398, 0x3a776347],
        [0x40a95618, 0xfc48ed6c, 0xe0c007f1, 0xe816ee4f], [0xd1f50ea2, 0xea9aca0e, 0x7bff7df6, 0x8d3b3654],
        [0xc1ea30bb, 0x615e3ee1, 0xd44f1da6, 0x89151134], [0x25a450b3, 0x2cd189a4, 0x5644dc87, 0x6e1b0019],
        [0x7d6be1c2, 0x3c74b0c0, 0x6413501e, 0x44622227], [0x8a89e34c, 0xc7c54c52, 0x0baa5982, 0x1b7180e3],
    ],
];

/// The digits i, i + 43, …: the row of them or of their negatives, and whether it is that of the negatives.
fn column(bytes: &[u8; 32], i: usize) -> (u32, Choice) {
    let bits = (0..TEETH).fold(0, |bits, tooth| {
        let place = i + tooth * STEP;
        // Big-endian; there are fewer than 258 bits.
        let byte = 31usize.checked_sub(place / 8).and_then(|at| bytes.get(at));
        bits | u32::from(byte.copied().unwrap_or(0) >> (place % 8) & 1) << tooth
    });
    let low = (1 << (TEETH - 1)) - 1;
    let top = bits >> (TEETH - 1);
    // All ones if the highest digit is −1.
    let turn = top.wrapping_sub(1);
    ((bits ^ turn) & low, Choice::from(1 ^ top as u8))
}

/// All ones if the two are equal, else 0; both are small.
fn mask(a: u32, b: u32) -> u32 {
    // Only 0 has a negative predecessor.
    (((a ^ b).wrapping_sub(1) as i32) >> 31) as u32
}

/// The four words of a row among those of all rows, in bytes.
#[inline(never)]
fn words(rows: &[[u32; 4]; 1 << (TEETH - 1)], row: u32) -> [u8; 16] {
    let mut sums = [0; 4];
    for (number, [a, b, c, d]) in (0..).zip(rows) {
        let mask = mask(row, number);
        let [w, x, y, z] = sums;
        sums = [w | a & mask, x | b & mask, y | c & mask, z | d & mask];
    }
    let bytes = sums.iter().fold(0, |all, word| all << 32 | u128::from(*word)).to_be_bytes();
    sums.zeroize();
    bytes
}

/// The point of a row.
#[inline(never)]
fn entry(row: u32) -> AffinePoint {
    let mut coordinates = [FieldBytes::default(), FieldBytes::default()];
    let halves = coordinates.iter_mut().flat_map(|bytes| bytes.chunks_exact_mut(16));
    halves.zip(&TABLE).for_each(|(to, rows)| to.copy_from_slice(&words(rows, row)));
    let [x, y] = &coordinates;
    let point = EncodedPoint::from_affine_coordinates(x, y, false);
    // All are on the curve.
    AffinePoint::from_encoded_point(&point).unwrap_or(AffinePoint::IDENTITY)
}

/// `scalar`·G, in constant time.
#[inline(never)]
pub(super) fn mul_base(scalar: &Scalar) -> ProjectivePoint {
    let mut halved = *scalar * constant(HALF) + constant(SHIFT);
    let mut bytes: [u8; 32] = halved.to_bytes().into();
    let mut sum = ProjectivePoint::IDENTITY;
    for i in (0..STEP).rev() {
        if i + 1 != STEP {
            sum = sum.double();
        }
        let (row, negative) = column(&bytes, i);
        let point = entry(row);
        sum += AffinePoint::conditional_select(&point, &-point, negative);
    }
    halved.zeroize();
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
        for row in 0..1 << (TEETH - 1) {
            let signed =
                |tooth: usize| if row >> tooth & 1 == 1 { teeth[tooth] } else { -teeth[tooth] };
            let sum: ProjectivePoint = (0..TEETH - 1).map(signed).sum();
            assert_eq!(ProjectivePoint::from(entry(row)), teeth[TEETH - 1] + sum, "{row}");
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
