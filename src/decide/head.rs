//! Whether a run may move the head of its ref.

use std::cmp::Ordering;

use crate::format::{Head, Pointer};

/// What a run does with the head of its ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The run writes the head.
    Write,
    /// The run wrote the same head before.
    Done,
    /// The head of a later run stays.
    Stay,
}

/// Decides what the run does with the head. A run never replaces the head of a later run.
pub fn movement(current: Option<&Head>, pointer: &Pointer, run_id: u64) -> Move {
    let Some(head) = current else { return Move::Write };
    let same = head.fingerprint == pointer.fingerprint
        && head.generation == pointer.generation
        && head.manifest == pointer.manifest.digest;
    match run_id.cmp(&head.run_id) {
        Ordering::Less => Move::Stay,
        Ordering::Equal if same => Move::Done,
        _ => Move::Write,
    }
}

/// Returns whether no run has the number of the head yet, seen from this run.
///
/// A run and its repetitions last some months. GitHub's numbers do not double in that time, and the
/// small numbers of a server of one's own do not grow by a billion.
pub fn is_impossible(head: &Head, run_id: u64) -> bool {
    run_id != 0 && head.run_id > run_id.saturating_mul(2).saturating_add(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fingerprint;

    #[test]
    fn an_older_run_never_moves_a_head() {
        let head = Head::parse(include_bytes!("../../tests/it/golden/v1/head.json")).unwrap();
        let pointer =
            Pointer::parse(include_bytes!("../../tests/it/golden/v1/pointer.json")).unwrap();
        let other = Pointer { fingerprint: Fingerprint::of(b"reverted"), ..pointer.clone() };
        for (current, pointer, run_id, moves) in [
            (None, &pointer, 1, Move::Write),
            (Some(&head), &pointer, head.run_id, Move::Done),
            (Some(&head), &pointer, head.run_id + 1, Move::Write),
            (Some(&head), &other, head.run_id, Move::Write),
            (Some(&head), &other, head.run_id + 1, Move::Write),
            (Some(&head), &other, head.run_id - 1, Move::Stay),
            (Some(&head), &other, 0, Move::Stay),
        ] {
            assert_eq!(movement(current, pointer, run_id), moves, "{run_id}");
        }
    }

    #[test]
    fn a_number_that_no_run_has_yet_is_noticed() {
        let head = Head::parse(include_bytes!("../../tests/it/golden/v1/head.json")).unwrap();
        for (stored, run_id, impossible) in [
            (20_000_000_001, 20_000_000_000, false),
            (25_000_000_000, 20_000_000_000, false),
            (1_000_000, 1001, false),
            (9_007_199_254_740_991, 20_000_000_000, true),
            (9_007_199_254_740_991, 1001, true),
            (9_007_199_254_740_991, 0, false),
        ] {
            let head = Head { run_id: stored, ..head.clone() };
            assert_eq!(is_impossible(&head, run_id), impossible, "{stored} {run_id}");
        }
    }
}
