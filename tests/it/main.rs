//! The integration tests: binary and library against real files, real servers and official clients.
//!
//! All tests are one binary, so that the linker runs once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod action;
mod architecture;
mod bad_input;
mod careless;
mod check;
mod configuration;
mod conformance;
mod damage;
mod descriptors;
mod directory;
mod flow;
mod generated;
mod golden;
mod independent;
mod installs;
mod kill;
mod memory;
mod mounts;
mod occupied;
mod patterns;
mod profiles;
mod races;
mod release;
mod reusable_workflow;
mod s3_faults;
mod s3_services;
mod support;
mod threat_model;
