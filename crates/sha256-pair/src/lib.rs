//! SHA-256 of two messages at once, on a single processor.
//!
//! Each step of SHA-256 needs the result of the step before, so a processor with SHA instructions
//! mostly waits. The steps of a second message fill that time. Two messages then take little longer
//! than one message alone.
//!
//! Source of the algorithm: FIPS 180-4. The crate `sha2` compresses the blocks of a single message.

#[cfg(target_arch = "x86_64")]
mod interleaved;

use sha2::block_api::compress256;

const BLOCK: usize = 64;
type Block = [u8; BLOCK];
type State = [u32; 8];

/// FIPS 180-4, section 5.3.3.
const START: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Computes a SHA-256 piece by piece.
#[derive(Clone, Debug)]
pub struct Sha256 {
    state: State,
    /// The bytes since the last whole block.
    rest: Block,
    /// The number of bytes so far.
    length: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self { state: START, rest: [0; BLOCK], length: 0 }
    }
}

impl Sha256 {
    /// Appends bytes to the message.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, tail) = self.fill(bytes).as_chunks();
        compress256(&mut self.state, blocks);
        self.keep(tail);
        self.length = self.length.wrapping_add(bytes.len() as u64);
    }

    /// Appends bytes to two messages. On x86-64 with SHA instructions, this takes little longer
    /// than the longer part alone.
    pub fn update_both(left: (&mut Self, &[u8]), right: (&mut Self, &[u8])) {
        let ((left, left_bytes), (right, right_bytes)) = (left, right);
        let (left_blocks, left_tail) = left.fill(left_bytes).as_chunks();
        let (right_blocks, right_tail) = right.fill(right_bytes).as_chunks();
        compress_both([&mut left.state, &mut right.state], [left_blocks, right_blocks]);
        for (hasher, tail, bytes) in
            [(left, left_tail, left_bytes), (right, right_tail, right_bytes)]
        {
            hasher.keep(tail);
            hasher.length = hasher.length.wrapping_add(bytes.len() as u64);
        }
    }

    /// Returns the digest of all bytes so far.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        // FIPS 180-4, section 5.1.1: a one, zeros, and the number of bits at the end of a block.
        let bits = self.length.wrapping_mul(8);
        let filled = self.filled();
        self.rest[filled] = 0x80;
        self.rest[filled + 1..].fill(0);
        if filled + 1 > BLOCK - 8 {
            compress256(&mut self.state, &[self.rest]);
            self.rest.fill(0);
        }
        self.rest[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, &[self.rest]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }

    fn filled(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Adds to the block that is begun, if there is one. Returns the bytes after that block.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let filled = self.filled();
        if filled == 0 {
            return bytes;
        }
        let (first, others) = bytes.split_at(bytes.len().min(BLOCK - filled));
        self.rest[filled..filled + first.len()].copy_from_slice(first);
        if filled + first.len() == BLOCK {
            compress256(&mut self.state, &[self.rest]);
        }
        others
    }

    /// Begins the next block with these bytes.
    fn keep(&mut self, tail: &[u8]) {
        self.rest[..tail.len()].copy_from_slice(tail);
    }
}

fn compress_both([left, right]: [&mut State; 2], [left_blocks, right_blocks]: [&[Block]; 2]) {
    let common = left_blocks.len().min(right_blocks.len());
    let (left_both, left_more) = left_blocks.split_at(common);
    let (right_both, right_more) = right_blocks.split_at(common);
    #[cfg(target_arch = "x86_64")]
    let is_done = interleaved::compress([left, right], [left_both, right_both]);
    #[cfg(not(target_arch = "x86_64"))]
    let is_done = false;
    if !is_done {
        compress256(left, left_both);
        compress256(right, right_both);
    }
    compress256(left, left_more);
    compress256(right, right_more);
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    /// Bytes that differ by seed and place.
    fn bytes(seed: u32, count: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(&mut next).take(count).collect()
    }

    fn expected(bytes: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(bytes).into()
    }

    #[test]
    fn digests_of_the_standard() {
        // FIPS 180-4, examples of NIST: no bytes, `abc`, and a million times `a`.
        let hex = |digest: [u8; 32]| digest.map(|byte| format!("{byte:02x}")).concat();
        let of = |bytes: &[u8]| {
            let mut hasher = Sha256::default();
            hasher.update(bytes);
            hex(hasher.finish())
        };
        assert_eq!(of(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            of(&[b'a'; 1_000_000]),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
    }

    #[test]
    fn every_length_in_one_piece_and_in_two() {
        for count in 0..300 {
            let message = bytes(7, count);
            for cut in [0, 1, 55, 63, 64, 65, 128, 200] {
                let (first, second) = message.split_at(cut.min(count));
                let mut hasher = Sha256::default();
                hasher.update(first);
                hasher.update(second);
                assert_eq!(hasher.finish(), expected(&message), "{count} bytes, cut at {cut}");
            }
        }
    }

    #[test]
    fn two_messages_at_once_have_the_digests_of_each() {
        let mut cuts = bytes(3, 4000).into_iter().map(|byte| usize::from(byte) * 3);
        for round in 0..200 {
            let mut hashers = [Sha256::default(), Sha256::default()];
            let mut messages = [Vec::new(), Vec::new()];
            for _ in 0..round % 7 {
                let pieces = [0, 1].map(|lane| bytes(round * 2 + lane, cuts.next().unwrap_or(99)));
                let [left, right] = &mut hashers;
                Sha256::update_both((left, &pieces[0]), (right, &pieces[1]));
                for (message, piece) in messages.iter_mut().zip(&pieces) {
                    message.extend_from_slice(piece);
                }
            }
            for (hasher, message) in hashers.into_iter().zip(&messages) {
                assert_eq!(hasher.finish(), expected(message), "round {round}");
            }
        }
    }

    #[test]
    fn long_messages_of_other_lengths() {
        let (left, right) = (bytes(1, 100_000), bytes(2, 70_001));
        let (mut first, mut second) = (Sha256::default(), Sha256::default());
        Sha256::update_both((&mut first, &left), (&mut second, &right));
        assert_eq!(first.finish(), expected(&left));
        assert_eq!(second.finish(), expected(&right));
    }
}
