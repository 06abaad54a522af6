//! Moves models: cuts a tree into blobs, uploads the missing blobs, fetches, verifies, puts in
//! place.
//!
//! Only the store port is known here, never an adapter.

pub mod addressed;
pub mod chunks;
pub mod download;
mod hashing;
pub mod pace;
mod pairing;
pub mod presence;
pub mod selection;
mod source;
pub mod stage;
pub mod throttle;
pub mod treatment;
pub mod tree;
pub mod unchanged;
pub mod upload;

/// The number of tasks that wait for their requests, where a request needs no preparation.
const AHEAD: usize = 4;
