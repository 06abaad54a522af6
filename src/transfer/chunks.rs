//! The rules that cut and join a model's files into blobs. Source: docs/formats.md, "Blobs".

use crate::format::Digest;

const MIB: u64 = 1 << 20;
/// A file of more bytes than this is cut into chunks. Smaller files share packs.
const CHUNKED_ABOVE: u64 = 4 * MIB;
/// The smallest chunk size in bytes.
const CHUNK: u64 = 8 * MIB;
/// The largest number of chunks of a file.
const MAX_CHUNKS: u64 = 8192;
/// The largest size of a pack in bytes.
const PACK_MAX: u64 = 8 * MIB;
/// From this size on, in bytes, the digest of a path may end the pack.
const PACK_MIN: u64 = 2 * MIB;

/// A blob to be made: slices of files, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobPlan {
    /// The slices, in the order of their bytes in the blob.
    pub slices: Vec<Slice>,
    /// The sum of the slices' lengths in bytes.
    pub size: u64,
}

/// A slice of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The index of the file in the argument of [`plan`].
    pub file: usize,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The length in bytes, at least 1.
    pub length: u64,
}

/// Returns the size of a file's chunks in bytes: 8 MiB · 2^k with the smallest k for at most 8,192
/// chunks.
pub fn chunk_size(file_size: u64) -> u64 {
    let mut size = CHUNK;
    while file_size.div_ceil(size) > MAX_CHUNKS {
        size *= 2;
    }
    size
}

/// Plans the blobs of files, given as path and size in bytes, in byte order of the paths.
///
/// The slices of a file come in ascending order. The same files always give the same blobs.
pub fn plan<'a>(files: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<BlobPlan> {
    let mut blobs = Vec::new();
    let mut pack = BlobPlan { slices: Vec::new(), size: 0 };
    let close = |pack: &mut BlobPlan, blobs: &mut Vec<BlobPlan>| {
        if !pack.slices.is_empty() {
            blobs.push(std::mem::replace(pack, BlobPlan { slices: Vec::new(), size: 0 }));
        }
    };
    for (file, (path, size)) in files.into_iter().enumerate() {
        if size == 0 {
            continue;
        }
        if size > CHUNKED_ABOVE {
            let chunk = chunk_size(size);
            let starts = (0..size.div_ceil(chunk)).map(|index| index * chunk);
            blobs.extend(starts.map(|offset| {
                let length = chunk.min(size - offset);
                BlobPlan { slices: vec![Slice { file, offset, length }], size: length }
            }));
            continue;
        }
        if pack.size + size > PACK_MAX {
            close(&mut pack, &mut blobs);
        }
        pack.slices.push(Slice { file, offset: 0, length: size });
        pack.size += size;
        // The path alone decides, so a changed file does not move the ends of all later packs. On
        // average, one path in 32 has such a digest.
        if pack.size >= PACK_MIN && Digest::of(path.as_bytes()).as_bytes()[0] < 8 {
            close(&mut pack, &mut blobs);
        }
    }
    close(&mut pack, &mut blobs);
    blobs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(plan: &[BlobPlan]) -> Vec<u64> {
        plan.iter().map(|blob| blob.size).collect()
    }

    #[test]
    fn large_files_are_cut_and_small_ones_joined() {
        let plan = plan([
            ("a", 4 * MIB),
            ("b", 20 * MIB),
            ("c", 0),
            ("d", 1),
            ("e", 4 * MIB + 1),
            ("f", 4 * MIB),
        ]);
        // Large files do not close the pack of `a` and `d`. `f` does not fit into the pack.
        assert_eq!(sizes(&plan), [8 * MIB, 8 * MIB, 4 * MIB, 4 * MIB + 1, 4 * MIB + 1, 4 * MIB]);
        assert_eq!(plan[4].slices.iter().map(|slice| slice.file).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(sizes(&super::plan([("a", 4 * MIB), ("f", 4 * MIB)])), [8 * MIB], "a full pack");
    }

    #[test]
    fn chunks_grow_so_that_there_are_never_too_many() {
        assert_eq!(chunk_size(64 << 30), 8 * MIB);
        assert_eq!(chunk_size((64 << 30) + 1), 16 * MIB);
        assert_eq!(chunk_size(20 << 40), 4096 * MIB);
    }

    #[test]
    fn a_pack_ends_after_a_path_whose_digest_starts_low() {
        let low = (0..)
            .map(|n| format!("p{n}"))
            .find(|path| Digest::of(path.as_bytes()).as_bytes()[0] < 8)
            .unwrap();
        let files = [("a", MIB), (low.as_str(), MIB), ("z", MIB)];
        assert_eq!(sizes(&plan(files)), [2 * MIB, MIB]);
        let files = [("a", MIB / 2), (low.as_str(), MIB), ("z", MIB)];
        assert_eq!(sizes(&plan(files)).len(), 1);
    }

    proptest! {
        #[test]
        fn every_byte_is_in_exactly_one_slice(
            sizes in proptest::collection::vec(0_u64..(30 * MIB), 0..40),
        ) {
            let names: Vec<String> = (0..sizes.len()).map(|n| format!("{n:04}")).collect();
            let plan = plan(names.iter().map(String::as_str).zip(sizes.iter().copied()));
            let mut covered = vec![0; sizes.len()];
            for blob in &plan {
                let length = blob.slices.iter().map(|slice| slice.length).sum::<u64>();
                prop_assert_eq!(blob.size, length);
                prop_assert!(blob.size <= PACK_MAX);
                for slice in &blob.slices {
                    prop_assert_eq!(covered[slice.file], slice.offset);
                    covered[slice.file] += slice.length;
                }
            }
            prop_assert_eq!(covered, sizes);
        }
    }
}
