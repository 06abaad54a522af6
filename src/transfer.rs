//! Moving models: cut a tree into blobs, upload what is missing, fetch, verify, put in place.
//!
//! Knows the store port and never an adapter.

pub mod chunks;
pub mod download;
pub mod presence;
pub mod stage;
pub mod throttle;
pub mod tree;
pub mod unchanged;
pub mod upload;

/// Bytes of blobs that are held in memory at a time, whatever the size of the model.
const MEMORY_BUDGET: u64 = 256 << 20;
