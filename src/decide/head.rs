//! Whether a run may move the head of its ref.

use crate::format::{Head, Pointer};

/// Returns whether the run must write the head.
///
/// A run never replaces the head of a later run. It does not repeat a head that it wrote itself.
pub fn must_move(current: Option<&Head>, pointer: &Pointer, run_id: u64) -> bool {
    let Some(head) = current else { return true };
    let same = head.fingerprint == pointer.fingerprint
        && head.generation == pointer.generation
        && head.manifest == pointer.manifest.digest;
    run_id >= head.run_id && !(same && run_id == head.run_id)
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
            (None, &pointer, 1, true),
            (Some(&head), &pointer, head.run_id, false),
            (Some(&head), &pointer, head.run_id + 1, true),
            (Some(&head), &other, head.run_id, true),
            (Some(&head), &other, head.run_id + 1, true),
            (Some(&head), &other, head.run_id - 1, false),
            (Some(&head), &other, 0, false),
        ] {
            assert_eq!(must_move(current, pointer, run_id), moves, "{run_id}");
        }
    }
}
