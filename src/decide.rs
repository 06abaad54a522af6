//! Decisions as pure functions: what was observed goes in, a verdict with its reasons comes out.
//!
//! Nothing here does I/O, awaits, or reads a clock.

pub mod changes;
pub mod force;
pub mod head;
pub mod plan;
pub mod promote;
pub mod save;
pub mod scope;
pub mod trust;

pub use changes::{Change, ChangeKind, InputSet};
pub use plan::{Policy, Reason, Verdict};
pub use scope::Access;
