//! Moves models: cuts a tree into blobs, uploads the missing blobs, fetches, verifies, puts in
//! place.
//!
//! Only the store port is known here, never an adapter.

pub mod addressed;
pub mod chunks;
pub mod download;
pub mod presence;
pub mod selection;
pub mod stage;
pub mod throttle;
pub mod treatment;
pub mod tree;
pub mod unchanged;
pub mod upload;

/// The largest number of bytes of blobs in memory at a time, whatever the size of the model.
const MEMORY_BUDGET: u64 = 256 << 20;
