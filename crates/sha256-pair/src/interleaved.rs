//! The SHA instructions of x86-64, for two messages in turn.
//!
//! Source: Intel, "New Instructions Supporting the Secure Hash Algorithm on Intel Architecture
//! Processors", 2013. The steps are those of the crate `sha2` for a single message.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use crate::{Block, State};

/// FIPS 180-4, section 4.2.2.
#[rustfmt::skip]
const ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5,
    0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3,
    0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc,
    0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7,
    0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13,
    0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3,
    0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5,
    0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208,
    0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Compresses as many blocks of each message as both have. Returns `false`, and does nothing, on a
/// processor without the instructions.
pub(crate) fn compress(states: [&mut State; 2], blocks: [&[Block]; 2]) -> bool {
    if !is_x86_feature_detected!("sha") || !is_x86_feature_detected!("sse4.1") {
        return false;
    }
    // SAFETY: the function is unsafe to call only because it needs these two features, and the
    // processor has them.
    #[allow(unsafe_code)]
    unsafe {
        compress_here(states, blocks);
    }
    true
}

/// The state of a message, in the order in which the instructions take it.
#[derive(Clone, Copy)]
struct Lane {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,sse4.1")]
fn compress_here([left, right]: [&mut State; 2], blocks: [&[Block]; 2]) {
    let mut lanes = [lane(left), lane(right)];
    for (left, right) in blocks[0].iter().zip(blocks[1]) {
        let before = lanes;
        let mut words = [load(left), load(right)];
        for (step, (left, right)) in words[0].iter().zip(words[1]).enumerate() {
            rounds(step, &mut lanes, [*left, right]);
        }
        // Two loops, so that the compiler unrolls them and keeps all words in registers.
        for step in [4, 8, 12] {
            for first in 0..4 {
                words[0][first] = schedule(&words[0], first);
                words[1][first] = schedule(&words[1], first);
                rounds(step + first, &mut lanes, [words[0][first], words[1][first]]);
            }
        }
        for (lane, before) in lanes.iter_mut().zip(before) {
            lane.abef = _mm_add_epi32(lane.abef, before.abef);
            lane.cdgh = _mm_add_epi32(lane.cdgh, before.cdgh);
        }
    }
    *left = state(lanes[0]);
    *right = state(lanes[1]);
}

/// Four rounds of both messages. The instructions of the second fill the waits of the first.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn rounds(step: usize, lanes: &mut [Lane; 2], words: [__m128i; 2]) {
    let constants =
        vector([ROUND[4 * step], ROUND[4 * step + 1], ROUND[4 * step + 2], ROUND[4 * step + 3]]);
    let left = _mm_add_epi32(words[0], constants);
    let right = _mm_add_epi32(words[1], constants);
    let [one, two] = lanes;
    one.cdgh = _mm_sha256rnds2_epu32(one.cdgh, one.abef, left);
    two.cdgh = _mm_sha256rnds2_epu32(two.cdgh, two.abef, right);
    one.abef = _mm_sha256rnds2_epu32(one.abef, one.cdgh, _mm_shuffle_epi32(left, 0x0e));
    two.abef = _mm_sha256rnds2_epu32(two.abef, two.cdgh, _mm_shuffle_epi32(right, 0x0e));
}

/// Returns the four words of the message schedule that follow `words`, of which `first` is the
/// oldest.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn schedule(words: &[__m128i; 4], first: usize) -> __m128i {
    let (a, b) = (words[first], words[(first + 1) % 4]);
    let (c, d) = (words[(first + 2) % 4], words[(first + 3) % 4]);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4));
    _mm_sha256msg2_epu32(sum, d)
}

/// Reads a block as words of big-endian bytes.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn load(block: &Block) -> [__m128i; 4] {
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut words = [swap; 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        let both = u128::from_le_bytes(*bytes).cast_signed();
        *words = _mm_shuffle_epi8(_mm_set_epi64x((both >> 64) as i64, both as i64), swap);
    }
    words
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn vector(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn lane(state: &State) -> Lane {
    let [a, b, c, d, e, f, g, h] = *state;
    Lane { abef: vector([f, e, b, a]), cdgh: vector([h, g, d, c]) }
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn state(lane: Lane) -> State {
    let words = |v| {
        [
            _mm_extract_epi32::<0>(v),
            _mm_extract_epi32::<1>(v),
            _mm_extract_epi32::<2>(v),
            _mm_extract_epi32::<3>(v),
        ]
        .map(i32::cast_unsigned)
    };
    let ([f, e, b, a], [h, g, d, c]) = (words(lane.abef), words(lane.cdgh));
    [a, b, c, d, e, f, g, h]
}
