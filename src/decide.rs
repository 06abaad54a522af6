//! Decisions as pure functions: observations go in, a verdict with its reasons comes out.
//!
//! Nothing here does I/O, awaits, or reads a clock.

pub mod bounds;
pub mod changes;
pub mod commit;
pub mod force;
pub mod head;
pub mod origin;
pub mod promote;
pub mod scope;
pub mod trust;
pub mod verdict;

pub use changes::{Change, ChangeKind, InputSet};
pub use scope::{Access, ReadScopes};
pub use verdict::{Decision, Policy, Reason, Why};
